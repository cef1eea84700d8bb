//! The nodes of the cluster, one a line, and the copies of what this node takes in, a line for each shard.

use gophership_proto::view::cluster::ClusterNodeView;
use gophership_proto::view::status::{ReplicaView, ShardView};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::super::figures::{Figures, NodeFigures};
use super::colour::zone_colour;
use crate::out::human;
use crate::view::cluster::copies_behind;

/// Number of nodes, and of shards, that have a line.
const NODES_MAX: usize = 5;
const SHARDS_MAX: usize = 4;

/// Number of rows that it takes; 0 at a single node. Where `room` is less than all would take, shards go without.
pub(super) fn rows(figures: &Figures, room: u16) -> u16 {
    let nodes = node_rows(figures);
    let shards = copied(figures).len().min(SHARDS_MAX);
    let shards = shards.min(usize::from(room).saturating_sub(nodes));
    u16::try_from(shards + nodes).unwrap_or(u16::MAX)
}

/// Number of rows of the nodes, with their head.
fn node_rows(figures: &Figures) -> usize {
    let present = figures.nodes.iter().filter(|figures| figures.node.moved_to.is_none());
    match present.count().min(NODES_MAX) {
        0 => 0,
        nodes => 1 + nodes,
    }
}

fn copied(figures: &Figures) -> Vec<&ShardView> {
    figures
        .shards
        .iter()
        .filter(|shard| !shard.replicas.is_empty())
        .collect()
}

pub(super) fn draw(frame: &mut Frame, figures: &Figures, area: Rect) {
    let mut shards = copied(figures);
    // Where not all have a line, it is the slowest that do.
    let slowness = |shard: &ShardView| shard.replicas.iter().map(|r| r.behind_seconds).fold(0.0, f64::max);
    shards.sort_by(|a, b| slowness(b).total_cmp(&slowness(a)));
    shards.truncate(SHARDS_MAX.min(usize::from(area.height).saturating_sub(node_rows(figures))));
    shards.sort_by_key(|shard| shard.shard);
    let height = u16::try_from(shards.len()).unwrap_or(u16::MAX);
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(height)]).areas(area);
    nodes(frame, &figures.nodes, above);
    let lines: Vec<Line<'static>> = shards.into_iter().map(shard_line).collect();
    frame.render_widget(Text::from(lines), below);
}

fn nodes(frame: &mut Frame, figures: &[NodeFigures], area: Rect) {
    if figures.is_empty() {
        return;
    }
    let all: Vec<ClusterNodeView> = figures.iter().map(|figures| figures.node.clone()).collect();
    let widths = [
        Constraint::Length(14),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let head = Row::new(vec![
        Text::raw("NODE"),
        Text::raw("RAFT"),
        Text::raw("ZONE"),
        right("RECORDS/S".to_owned()),
        right("UNACKED".to_owned()),
        right("DEBT".to_owned()),
        Text::raw("COPIES BEHIND"),
    ])
    .bold();
    // The worst are never left out.
    let mut shown: Vec<&NodeFigures> = figures
        .iter()
        .filter(|figures| figures.node.moved_to.is_none())
        .collect();
    shown.sort_by_key(|figures| figures.node.alive);
    shown.truncate(NODES_MAX);
    shown.sort_by_key(|figures| figures.node.id);
    let rows = shown.into_iter().map(|figures| node(figures, &all));
    frame.render_widget(Table::new(rows.collect::<Vec<_>>(), widths).header(head), area);
}

fn node(figures: &NodeFigures, all: &[ClusterNodeView]) -> Row<'static> {
    let NodeFigures {
        node,
        records_per_second,
    } = figures;
    let name = human::cut(&node.called(), 14);
    let role = human::one_line(node.role.as_deref().unwrap_or("-"));
    let behind = copies_behind(all, node.id);
    let Some(report) = &node.report else {
        let dead = if node.alive { "NO REPORT" } else { "DEAD" };
        let blank = || Cell::new(right("-".to_owned()));
        let dead = Cell::new(dead.to_owned().red().bold());
        return Row::new(vec![
            Cell::new(name.red()),
            dead,
            Cell::new("-"),
            blank(),
            blank(),
            blank(),
            Cell::new(behind),
        ]);
    };
    let zone = Text::styled(report.zone, Style::new().fg(zone_colour(report.zone)));
    let unacked = report.shards.iter().map(|shard| shard.unacked_entries).sum();
    Row::new(vec![
        Cell::new(if report.ready { name.into() } else { name.red() }),
        Cell::new(role),
        Cell::new(zone),
        Cell::new(right(records_per_second.map_or_else(|| "-".to_owned(), human::rate))),
        Cell::new(right(human::count(unacked))),
        Cell::new(right(
            report
                .debt
                .map_or_else(|| "-".to_owned(), |debt| human::bytes(debt.bytes)),
        )),
        Cell::new(behind),
    ])
}

fn shard_line(shard: &ShardView) -> Line<'static> {
    let mut line = vec![
        format!("shard {:<3}", shard.shard).bold(),
        Span::raw(format!(
            "acks waiting {:<6} copies on",
            human::count(shard.unacked_entries)
        )),
    ];
    for replica in &shard.replicas {
        let text = format!(" {}: {} ", replica.node, copy(replica));
        line.push(if replica.stuck {
            text.red().bold()
        } else {
            Span::raw(text)
        });
    }
    Line::from(line)
}

/// How far a copy is behind.
pub(in super::super) fn copy(replica: &ReplicaView) -> String {
    let behind = match replica.behind_entries {
        0 => "0".to_owned(),
        _ => format!("{}/{:.0}s", human::bytes(replica.behind_bytes), replica.behind_seconds),
    };
    format!("{behind}{}", if replica.stuck { " STUCK" } else { "" })
}

fn right(text: String) -> Text<'static> {
    Text::raw(text).alignment(Alignment::Right)
}

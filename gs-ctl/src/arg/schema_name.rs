//! The schemas that `gs-ctl schema` prints, as the command line names them.

/// Commands whose answers have a schema. Variants bear no comments: clap would show them as help.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum SchemaName {
    Status,
    ClusterStatus,
    ClusterProvision,
    NodeList,
    NodeChange,
    RaftStatus,
    Events,
    ConfigGet,
    ConfigSet,
    ConfigDiff,
    Top,
    ExporterList,
    Exporter,
    ExporterForget,
    DeadLetterList,
    DeadLetterShow,
    DeadLetterReplay,
    DeadLetterDrop,
    Override,
    SegmentList,
    SegmentDescribe,
    SegmentVerify,
    ReplayList,
    ReplayJob,
    ReplayFile,
    ArchiveVerify,
    WalDump,
}

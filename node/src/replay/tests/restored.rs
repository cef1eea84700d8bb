//! Replays in a cluster that began with a restore: what that has not taken in is missing.

use gophership_catalogue::testkit::{begin_restore, restore_end};
use gophership_proto::control::v1::ReplaySource;

use super::*;

fn restoring(path: &std::path::Path) -> TestNode {
    TestNode::open_beside(path, &[begin_restore()])
}

/// What a replay to the client says at its end.
async fn last_word(control: &mut TestControl, source: ReplaySource) -> Result<(), tonic::Status> {
    let spec = ReplaySpec {
        source: source.into(),
        ..ReplaySpec::default()
    };
    let mut chunks = control.client.stream_replay(spec).await.unwrap().into_inner();
    let mut entries = 0;
    loop {
        match chunks.message().await {
            Ok(Some(chunk)) => entries += chunk.entries.len(),
            Ok(None) => break assert_eq!(entries, 1),
            Err(status) => {
                assert_eq!((entries, status.code()), (1, Code::DataLoss), "{status}");
                return Err(status);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_lacks_something_until_the_restore_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = restoring(dir.path());
    node.append(0, 1, &payload(1, 100));
    let stub = Stub::grpc([]).await;
    let mut control = node.serve(&[]).await;
    let end = |missing, accept| {
        let end = restore_end(missing, accept);
        node.catalogue.submit(Actor::operator("jo"), end).unwrap();
    };
    for (what, prepare) in [
        ("is running", None),
        ("is incomplete: 2 parts", Some((2, false))),
        ("without 3 parts, whose loss was accepted", Some((3, true))),
    ] {
        if let Some((missing, accept)) = prepare {
            end(missing, accept);
        }
        let missing = last_word(&mut control, ReplaySource::Auto).await.unwrap_err();
        assert!(
            missing.message().contains("s3://logs") && missing.message().contains(what),
            "{missing}"
        );
        last_word(&mut control, ReplaySource::Vault).await.unwrap();
        let id = start(&mut control, grpc(&stub)).await;
        let ended = ended(&mut control, &id).await;
        assert_eq!((ended.state(), ended.entries_done), (ReplayState::Failed, 1), "{what}");
        assert!(ended.error.contains(what), "{}", ended.error);
    }
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_lacks_what_was_not_restored_when_it_was_planned() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = restoring(dir.path());
    node.append(0, 1, &payload(1, 100));
    let stub = Stub::grpc([Reply::Grpc(Code::Unavailable)]).await;
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    node.catalogue
        .submit(Actor::operator("jo"), restore_end(0, false))
        .unwrap();
    assert_eq!(ended(&mut control, &id).await.state(), ReplayState::Failed);
    let id = start(&mut control, grpc(&stub)).await;
    assert_eq!(ended(&mut control, &id).await.state(), ReplayState::Done);
    last_word(&mut control, ReplaySource::Auto).await.unwrap();
    control.stop().await;
    node.close();
}

//! Generates the control service, OTLP's messages, the descriptors for reflection and the peers' services, without
//! protoc.

#[cfg(any(feature = "control", feature = "peer"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "control")]
    control()?;
    #[cfg(feature = "peer")]
    peer()?;
    Ok(())
}

#[cfg(not(any(feature = "control", feature = "peer")))]
fn main() {}

#[cfg(feature = "peer")]
fn peer() -> Result<(), Box<dyn std::error::Error>> {
    let mut peer = protox::compile(["peer.proto"], ["proto"])?;
    // What it imports is generated once, for the control service.
    peer.file.retain(|file| file.name() == "peer.proto");
    write_descriptors("peer.bin", &mut peer.clone())?;
    tonic_prost_build::configure()
        // Frames, payloads and pieces of files are handed on, not copied.
        .bytes(".gophership.peer.v1")
        .extern_path(".gophership.control.v1", "crate::control::v1")
        .compile_fds(peer)?;
    Ok(())
}

#[cfg(feature = "control")]
fn control() -> Result<(), Box<dyn std::error::Error>> {
    use tonic_prost_build::FileDescriptorSet;

    const CONTROL: &str = "control.proto";
    const OTLP_LOGS: &str = "opentelemetry/proto/collector/logs/v1/logs_service.proto";

    let mut all = protox::compile([CONTROL, OTLP_LOGS], ["proto"])?;
    let (control, otlp) = all.file.iter().cloned().partition(|file| file.name() == CONTROL);
    tonic_prost_build::configure()
        // Payloads are passed on as shared `Bytes`, without a copy.
        .bytes(".gophership.control.v1.ReplayEntry.payload")
        .compile_fds(FileDescriptorSet { file: control })?;
    tonic_prost_build::configure()
        .build_server(false)
        .include_file("otlp.rs")
        .compile_fds(FileDescriptorSet { file: otlp })?;

    write_descriptors("descriptors.bin", &mut all)
}

#[cfg(any(feature = "control", feature = "peer"))]
fn write_descriptors(
    name: &str,
    of: &mut tonic_prost_build::FileDescriptorSet,
) -> Result<(), Box<dyn std::error::Error>> {
    // Who reads them has no use for comments.
    of.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out_dir = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join(name), prost::Message::encode_to_vec(of))?;
    Ok(())
}

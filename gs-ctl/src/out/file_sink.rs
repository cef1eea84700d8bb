//! Entries into a file or stdout.
//!
//! **Invariants**:
//! - I1: a file appears under its name only when it is whole and synced; until then it is PATH.part.
//! - I2: a file that exists is not replaced unasked.

use std::fs::{self, File};
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gophership_proto::control::v1::{PayloadEncoding, ReplayEntry};
use gophership_proto::otlp::inflate::{Compression, Inflater};
use gophership_proto::otlp::json;

use crate::arg::sink::{FileSpec, Layout};

/// Compression level: the default of the program `zstd`.
const ZSTD_LEVEL: i32 = 3;
/// The largest inflated payload: as large as any node's `ingest.max_message` may sensibly be.
const INFLATED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The destination of the bytes.
enum Out {
    Stdout(BufWriter<Stdout>),
    Plain(BufWriter<File>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Plain(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Plain(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}

/// A file and its temporary name.
struct Names {
    path: PathBuf,
    part: PathBuf,
}

/// A writer of entries, one after the other.
pub(crate) struct FileSink {
    out: Out,
    layout: Layout,
    names: Option<Names>,
    payloads: Payloads,
    buffer: Vec<u8>,
}

/// A reader of entries' payloads, which inflates those that are kept compressed.
#[derive(Default)]
pub(crate) struct Payloads {
    inflater: Option<Inflater>,
    inflated: Vec<u8>,
}

impl Payloads {
    /// An entry's `ExportLogsServiceRequest`.
    ///
    /// # Errors
    ///
    /// Its compression is unknown, or its bytes are not as that compression promises.
    pub(crate) fn of<'a>(&'a mut self, entry: &'a ReplayEntry) -> Result<&'a [u8], NotWritable> {
        let compression = match entry.encoding() {
            PayloadEncoding::Identity => return Ok(&entry.payload),
            PayloadEncoding::Gzip => Compression::Gzip,
            PayloadEncoding::Zstd => Compression::Zstd,
            PayloadEncoding::Deflate => return Err(NotWritable("it is kept as received, behind deflate".to_owned())),
        };
        let inflater = self.inflater.get_or_insert_with(Inflater::new);
        let done = inflater.inflate(compression, &entry.payload, &mut self.inflated, INFLATED_BYTES_MAX);
        done.map_err(|e| NotWritable(format!("it is kept as received, and {e}")))?;
        Ok(&self.inflated)
    }
}

/// The reason for which an entry was not written; the next one may be.
#[derive(Debug)]
pub(crate) struct NotWritable(pub(crate) String);

impl FileSink {
    /// A sink that writes JSON lines to stdout.
    pub(crate) fn stdout() -> Self {
        Self::new(Out::Stdout(BufWriter::new(io::stdout())), Layout::Jsonl, None)
    }

    /// Creates a file; an existing one is replaced only with `force`.
    pub(crate) fn create(spec: &FileSpec, force: bool) -> anyhow::Result<Self> {
        let path = &spec.path;
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => bail!("{} is a folder", path.display()),
            Ok(_) if !force => bail!(
                "{} exists: name another file, or replace it with --force",
                path.display()
            ),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = BufWriter::new(File::create(&part).with_context(|| format!("cannot create {}", part.display()))?);
        let out = if spec.zstd {
            let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL).context("cannot start to compress")?;
            encoder.include_checksum(true).context("cannot start to compress")?;
            Out::Zstd(Box::new(encoder))
        } else {
            Out::Plain(file)
        };
        Ok(Self::new(
            out,
            spec.layout,
            Some(Names {
                path: path.clone(),
                part,
            }),
        ))
    }

    fn new(out: Out, layout: Layout, names: Option<Names>) -> Self {
        Self {
            out,
            layout,
            names,
            payloads: Payloads::default(),
            buffer: Vec::new(),
        }
    }

    /// The file's temporary name, which it has until it is complete.
    pub(crate) fn part(&self) -> Option<&Path> {
        self.names.as_ref().map(|n| n.part.as_path())
    }

    /// Writes one entry, or returns the reason for which it cannot be written.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write(&mut self, entry: &ReplayEntry) -> io::Result<Result<(), NotWritable>> {
        self.buffer.clear();
        match self.lay_out(entry) {
            Ok(()) => {}
            Err(why) => return Ok(Err(why)),
        }
        self.out.write_all(&self.buffer).map(Ok)
    }

    fn lay_out(&mut self, entry: &ReplayEntry) -> Result<(), NotWritable> {
        let payload = self.payloads.of(entry)?;
        match self.layout {
            Layout::Binpb => self.buffer.extend_from_slice(payload),
            Layout::Lenpb => {
                let len = u32::try_from(payload.len()).map_err(|_| NotWritable("it has 4 GiB or more".to_owned()))?;
                self.buffer.extend_from_slice(&len.to_be_bytes());
                self.buffer.extend_from_slice(payload);
            }
            Layout::Jsonl => json::write_line(payload, Some(&name(entry)), &mut self.buffer)
                .map_err(|e| NotWritable(e.to_string()))?,
        }
        Ok(())
    }

    /// Completes the file: syncs it and gives it its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        let file = match self.out {
            Out::Stdout(mut out) => return out.flush(),
            Out::Plain(out) => out,
            Out::Zstd(out) => out.finish()?,
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let Some(Names { path, part }) = self.names else {
            return Ok(());
        };
        fs::rename(part, &path)?;
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

/// An entry's id and the number of entries from it on, as a replay to a sink names it too.
pub(crate) fn name(entry: &ReplayEntry) -> String {
    let lsn = entry.lsn.unwrap_or_default();
    format!("{}/{}/{}:{},1", entry.node, entry.shard, lsn.segment_index, lsn.number)
}

#[cfg(test)]
mod tests {
    use gophership_proto::control::v1::Lsn;

    use super::*;

    /// `ExportLogsServiceRequest`s: one with an empty `ResourceLogs`, one with a schema URL of some length.
    const PAYLOADS: [&[u8]; 2] = [&[0x0a, 0x00], &[0x0a, 0x05, 0x1a, 0x03, b'a', b'b', b'c']];

    fn entry(payload: &[u8], number: u32) -> ReplayEntry {
        ReplayEntry {
            node: 1,
            shard: 2,
            lsn: Some(Lsn {
                segment_index: 3,
                number,
            }),
            payload: payload.to_vec().into(),
            ..ReplayEntry::default()
        }
    }

    fn written(name: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let crate::arg::sink::Sink::File(spec) = format!("file:{}", path.display()).parse().unwrap() else {
            panic!("a file")
        };
        let mut sink = FileSink::create(&spec, false).unwrap();
        for (number, payload) in (1..).zip(PAYLOADS) {
            sink.write(&entry(payload, number)).unwrap().unwrap();
        }
        assert!(!path.exists(), "not before it is whole");
        sink.finish().unwrap();
        assert!(FileSink::create(&spec, false).is_err(), "i2");
        fs::read(&path).unwrap()
    }

    /// The payloads of a `.lenpb` file.
    fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut out = Vec::new();
        while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
            let (payload, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
            out.push(payload);
            bytes = rest;
        }
        assert!(bytes.is_empty());
        out
    }

    #[test]
    fn lenpb_gives_back_each_payload() {
        assert_eq!(split(&written("x.lenpb")), PAYLOADS);
        assert_eq!(
            split(&zstd::decode_all(written("x.lenpb.zst").as_slice()).unwrap()),
            PAYLOADS
        );
    }

    #[test]
    fn binpb_is_the_payloads_and_nothing_else() {
        assert_eq!(written("x.binpb"), PAYLOADS.concat());
    }

    #[test]
    fn jsonl_is_a_line_each_with_the_entrys_id() {
        let lines = String::from_utf8(written("x.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["x-gophership-entry"], "1/2/3:2,1");
        assert_eq!(lines[1]["resourceLogs"][0]["schemaUrl"], "abc");
    }

    #[test]
    fn what_was_kept_compressed_is_written_inflated() {
        let dir = tempfile::tempdir().unwrap();
        let spec = FileSpec {
            path: dir.path().join("x.binpb"),
            layout: Layout::Binpb,
            zstd: false,
        };
        let mut sink = FileSink::create(&spec, false).unwrap();
        let kept = |encoding: PayloadEncoding, payload: &[u8]| ReplayEntry {
            encoding: encoding.into(),
            ..entry(payload, 1)
        };
        let squeezed = zstd::encode_all(PAYLOADS[1], 1).unwrap();
        sink.write(&kept(PayloadEncoding::Zstd, &squeezed)).unwrap().unwrap();
        assert!(
            sink.write(&kept(PayloadEncoding::Gzip, &squeezed)).unwrap().is_err(),
            "not what it says it is"
        );
        sink.finish().unwrap();
        assert_eq!(fs::read(&spec.path).unwrap(), PAYLOADS[1]);
    }

    #[test]
    fn force_replaces_a_file_but_not_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let spec = FileSpec {
            path: dir.path().join("x.binpb"),
            layout: Layout::Binpb,
            zstd: false,
        };
        fs::write(&spec.path, "old").unwrap();
        assert!(FileSink::create(&spec, false).is_err());
        FileSink::create(&spec, true).unwrap().finish().unwrap();
        assert_eq!(fs::read(&spec.path).unwrap(), b"");
        fs::remove_file(&spec.path).unwrap();
        fs::create_dir(&spec.path).unwrap();
        assert!(FileSink::create(&spec, true).is_err());
    }
}

//! The command line of a restore: `gs-ctl cluster provision --restore-from`.

use clap::Args;

use super::archive::StoreArgs;

/// Options of a restore.
#[derive(Debug, Default, Args)]
pub(crate) struct RestoreArgs {
    /// Begin with what an archive has: s3://BUCKET/PREFIX or file:///FOLDER; credentials for S3 come from the
    /// environment. All nodes must be empty. Objects are taken in by reference, as segments that were archived and
    /// trimmed. What is missing or damaged is named and the rest is taken in: then the exit code is 4 (1 where
    /// something cannot be read now), the restore is incomplete on record, and the same command again goes on with it,
    /// as after any interruption. Exporters do not come back: those of the configuration send what the new cluster
    /// receives
    #[arg(long, value_name = "URL")]
    pub(crate) restore_from: Option<String>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Read every byte of every object first, instead of its length and its index
    #[arg(long)]
    pub(crate) full: bool,
    /// Say what would be taken in, and change nothing; no node is needed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// End the restore although something is missing or damaged. Nothing more is taken in later. It ends nothing while
    /// something could not be read
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

impl RestoreArgs {
    /// The archive that is to be restored, if one is; the error says what does not go without one.
    pub(crate) fn check(&self) -> Result<Option<&str>, &'static str> {
        let has_options = !self.store.is_empty() || self.full || self.dry_run || self.accept_loss;
        match &self.restore_from {
            Some(url) => Ok(Some(url)),
            None if has_options => Err("these options belong to --restore-from URL"),
            None => Ok(None),
        }
    }
}

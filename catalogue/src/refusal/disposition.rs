//! What a caller is to do about each refusal.

use gophership_vault::Disposition;

use super::Refusal;

impl Refusal {
    /// The remedy for the caller.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Fenced { .. }
            | Self::Recovered { .. }
            | Self::JobTaken { .. }
            | Self::ExportTaken { .. }
            | Self::NotHeld { .. }
            | Self::NotNextManifest { .. } => Disposition::Fenced,
            Self::TooManyJobs { .. } | Self::TooManyDeadLetters { .. } => Disposition::Overloaded,
            Self::UnknownNode { .. }
            | Self::Restore(_)
            | Self::OtherStorage { .. }
            | Self::NameTaken { .. }
            | Self::NameMoved { .. }
            | Self::Removed { .. }
            | Self::TooFewLeft { .. }
            | Self::Unsealed { .. }
            | Self::CopiesNeeded { .. }
            | Self::LettersThere { .. }
            | Self::OtherLoss { .. }
            | Self::NotAsked { .. }
            | Self::TooFewActive { .. }
            | Self::EpochNotGranted { .. }
            | Self::OwnReplica { .. }
            | Self::NotEarlier { .. }
            | Self::TooFewHolders { .. }
            | Self::Transition { .. }
            | Self::Differs { .. }
            | Self::OtherWriter { .. }
            | Self::LsnOutside { .. }
            | Self::NotEmpty { .. }
            | Self::HeldByOthers { .. }
            | Self::OwnerNotReplaced { .. }
            | Self::LossNotAccepted { .. }
            | Self::Stale { .. }
            | Self::UnknownJob { .. }
            | Self::JobEnded { .. }
            | Self::JobDiffers { .. }
            | Self::BadSetting { .. }
            | Self::TooManySettings { .. }
            | Self::UnknownExporter { .. }
            | Self::NotRecovered { .. }
            | Self::ExporterConfigured { .. }
            | Self::Owed { .. }
            | Self::BadExporterName { .. }
            | Self::TooManyExporters { .. }
            | Self::NeverOpened { .. }
            | Self::Held { .. }
            | Self::NoObject
            | Self::Leased { .. }
            | Self::NothingToArchive { .. }
            | Self::UnknownLease { .. }
            | Self::ObjectCounts { .. }
            | Self::NotCommitted { .. }
            | Self::InOtherStore { .. }
            | Self::NotArchived { .. }
            | Self::TooLong { .. }
            | Self::NumbersUsedUp { .. } => Disposition::Invalid,
        }
    }
}

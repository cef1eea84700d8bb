//! The authority: `ca.pem` and `ca.key`, made once and reused for each further node.
//!
//! **Invariants**:
//! - I1: an existing authority is never replaced.
//! - I2: nothing that it signs outlives it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};

use super::files::{self, Access, CertsError};

/// Validity of a new authority: ten years.
const VALID: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Time before now at which a validity begins, for clocks that are behind.
pub(super) const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// An authority that can sign.
pub(super) struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) valid_until: SystemTime,
    /// Files written just now; empty where the authority existed.
    pub(super) written: Vec<PathBuf>,
}

/// The authority's certificate and key in a folder.
pub(super) fn paths(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("ca.pem"), folder.join("ca.key"))
}

/// Opens the authority in a folder, or makes one where there is none.
pub(super) fn open_or_create(folder: &Path) -> Result<Authority, CertsError> {
    let (certificate, key) = paths(folder);
    match (certificate.exists(), key.exists()) {
        (true, true) => open(&certificate, &key),
        (false, false) => create(&certificate, &key),
        (true, false) => Err(CertsError::HalfAuthority {
            found: certificate,
            missing: key,
        }),
        (false, true) => Err(CertsError::HalfAuthority {
            found: key,
            missing: certificate,
        }),
    }
}

fn create(certificate: &Path, key: &Path) -> Result<Authority, CertsError> {
    let signing = |source| CertsError::Signing {
        name: "the authority".into(),
        source,
    };
    let now = SystemTime::now();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "GopherShip CA");
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + VALID).into();
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(signing)?;
    let signed = params.self_signed(&pair).map_err(signing)?;
    // The key is written first: a certificate whose key was never written would be useless.
    files::write(key, &pair.serialize_pem(), Access::Private)?;
    files::write(certificate, &signed.pem(), Access::Public)?;
    Ok(Authority {
        issuer: Issuer::new(params, pair),
        valid_until: now + VALID,
        written: vec![certificate.to_owned(), key.to_owned()],
    })
}

fn open(certificate: &Path, key: &Path) -> Result<Authority, CertsError> {
    let refuse = |path: &Path, reason: String| CertsError::NotAnAuthority {
        path: path.to_owned(),
        reason,
    };
    let pem = files::read(certificate)?;
    let pair = KeyPair::from_pem(&files::read(key)?).map_err(|error| refuse(key, error.to_string()))?;
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| refuse(certificate, error.to_string()))?;
    let parsed = block
        .parse_x509()
        .map_err(|error| refuse(certificate, error.to_string()))?;
    if !parsed.is_ca() {
        return Err(refuse(certificate, "it is not marked as an authority".into()));
    }
    if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
        return Err(refuse(key, "it is not the key of ca.pem".into()));
    }
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let valid_until = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    if valid_until <= SystemTime::now() {
        return Err(refuse(
            certificate,
            format!("it expired on {}", parsed.validity().not_after),
        ));
    }
    let issuer = Issuer::from_ca_cert_pem(&pem, pair).map_err(|error| refuse(certificate, error.to_string()))?;
    Ok(Authority {
        issuer,
        valid_until,
        written: Vec::new(),
    })
}

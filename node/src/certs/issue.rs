//! Issuing one certificate: for a node (server and client) or for a client.
//!
//! **Invariants**:
//! - I1: without `force`, no existing file is touched.
//! - I2: a client's certificate cannot be used as a server's.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};

use super::authority::{self, Authority, CLOCK_SLACK};
use super::files::{self, Access, CertsError};

/// Validity of a certificate: the longest that some TLS clients accept.
const VALID: Duration = Duration::from_secs(825 * 24 * 3600);

/// The use of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A node, which serves and calls its peers.
    Node,
    /// A client of a node.
    Client,
}

/// The result of issuing: files, and the name they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The files written, in order.
    pub written: Vec<PathBuf>,
    role: Role,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

/// Makes a certificate called `name` in `folder`, signed by the folder's authority, which is made where there is none.
/// A node's certificate is for its name, `localhost`, the loopback addresses, and `sans`.
///
/// # Errors
///
/// See [`CertsError`]. Nothing is written when a name is refused or a file would be replaced without `force`.
pub fn issue(folder: &Path, name: &str, role: Role, sans: &[String], force: bool) -> Result<Issued, CertsError> {
    check_name(name)?;
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    if !force && let Some(path) = [&certificate, &key].into_iter().find(|path| path.exists()) {
        return Err(CertsError::Exists { path: path.clone() });
    }
    let mut params = params(name, role, sans)?;
    fs::create_dir_all(folder).map_err(|source| CertsError::Io {
        path: folder.to_owned(),
        source,
    })?;
    let Authority {
        issuer,
        valid_until,
        mut written,
    } = authority::open_or_create(folder)?;
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + VALID).min(valid_until).into();
    let signing = |source| CertsError::Signing {
        name: name.to_owned(),
        source,
    };
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(signing)?;
    let signed = params.signed_by(&pair, &issuer).map_err(signing)?;
    files::write(&key, &pair.serialize_pem(), Access::Private)?;
    files::write(&certificate, &signed.pem(), Access::Public)?;
    written.extend([certificate.clone(), key.clone()]);
    Ok(Issued {
        written,
        role,
        certificate,
        key,
        authority: authority::paths(folder).0,
    })
}

fn check_name(name: &str) -> Result<(), CertsError> {
    let good = !name.is_empty()
        && name.len() <= 200
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !name.starts_with(['.', '-'])
        && !name.eq_ignore_ascii_case("ca");
    if good {
        Ok(())
    } else {
        Err(CertsError::BadName { name: name.to_owned() })
    }
}

fn params(name: &str, role: Role, sans: &[String]) -> Result<CertificateParams, CertsError> {
    let mut names = vec![name.to_owned()];
    let usages = match role {
        Role::Node => {
            names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
        Role::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    for san in sans {
        let dns = san
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*'));
        if san.is_empty() || !(dns || san.parse::<std::net::IpAddr>().is_ok()) {
            return Err(CertsError::BadSan { san: san.clone() });
        }
        if !names.contains(san) {
            names.push(san.clone());
        }
    }
    let mut params = CertificateParams::new(names).map_err(|source| CertsError::Signing {
        name: name.to_owned(),
        source,
    })?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.written {
            writeln!(f, "wrote {}", path.display())?;
        }
        let (certificate, key, authority) = (self.certificate.display(), self.key.display(), self.authority.display());
        match self.role {
            Role::Node => write!(
                f,
                "\nIn the node's configuration, for each listener:\n  tls: {{ cert: {certificate}, key: {key} }}\n\
                 or, for peer always, and for otlp_grpc and otlp_http where clients must show a certificate of this \
                 authority:\n  \
                 tls: {{ cert: {certificate}, key: {key}, client_ca: {authority} }}\n\
                 Clients trust the node with {authority}. Keep the authority's key off the nodes."
            ),
            Role::Client => write!(
                f,
                "\nThe client shows {certificate} with {key}, and trusts nodes with {authority}.\n\
                 In an OpenTelemetry Collector's exporter:\n  \
                 tls: {{ cert_file: {certificate}, key_file: {key}, ca_file: {authority} }}"
            ),
        }
    }
}

//! Keys and certificates: the CA, and the leaf certificates it keeps valid.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{Error, Identity, files};

const CA_TTL: Duration = Duration::days(3650);
const LEAF_TTL: Duration = Duration::days(365);
/// A leaf with less time left is issued again at start.
const RENEW_BEFORE: Duration = Duration::days(60);
/// Certificates are valid from this long ago, for clients whose clocks lag (upstream: 5 minutes).
const BACKDATE: Duration = Duration::minutes(5);

/// Whom a leaf certificate is for.
pub(super) struct Subject {
    common_name: String,
    organization: Option<String>,
    /// Empty for a client.
    sans: Vec<String>,
}

impl Subject {
    pub(super) fn client(name: &str, group: Option<&str>) -> Self {
        Self { common_name: name.into(), organization: group.map(str::to_owned), sans: Vec::new() }
    }

    pub(super) fn server(name: &str, sans: Vec<String>) -> Self {
        Self { common_name: name.into(), organization: None, sans }
    }

    fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let unique: BTreeSet<String> = self.sans.iter().cloned().collect();
        let mut params = CertificateParams::new(unique.into_iter().collect::<Vec<_>>())?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if self.sans.is_empty() {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        Ok(params)
    }
}

/// The authority: its certificate and the key that signs.
pub(super) struct Ca {
    cert_pem: String,
    cert_der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

impl Ca {
    pub(super) fn load_or_create(dir: &Path) -> Result<Self, Error> {
        let key = load_or_create_key(&dir.join("ca.key"))?;
        let path = dir.join("ca.crt");
        let cert_pem = match files::read(&path)? {
            Some(pem) => pem,
            None => {
                let pem = self_sign(&key)?;
                files::write(&path, &pem)?;
                pem
            }
        };
        Self::new(path, cert_pem, key)
    }

    fn new(path: PathBuf, cert_pem: String, key: KeyPair) -> Result<Self, Error> {
        let cert_der =
            der_of(&cert_pem).ok_or_else(|| Error::MismatchedCa { path: path.clone() })?;
        let not_after = {
            let cert = parse(&cert_der).filter(|cert| has_key(cert, &key));
            let cert = cert.ok_or(Error::MismatchedCa { path })?;
            cert.validity().not_after.to_datetime()
        };
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key);
        let issuer = issuer.map_err(|source| Error::UseCa { source })?;
        Ok(Self { cert_pem, cert_der, issuer, not_after })
    }

    pub(super) fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The pair `<file>.crt` and `<file>.key`, issued (again) where it is not good for `subject`.
    pub(super) fn load_or_issue(
        &self,
        dir: &Path,
        file: &str,
        subject: &Subject,
    ) -> Result<Identity, Error> {
        let key_path = dir.join(format!("{file}.key"));
        let cert_path = dir.join(format!("{file}.crt"));
        let key = load_or_create_key(&key_path)?;
        if let Some(cert_pem) = files::read(&cert_path)?
            && self.is_good(&cert_pem, &key, subject)
        {
            return Ok(Identity { cert_pem, key_pem: key.serialize_pem() });
        }
        let name = subject.common_name.clone();
        let failed = |source| Error::IssueCertificate { name: name.clone(), source };
        let params = subject.params().map_err(failed)?;
        let cert_pem = self.issue(params, &key, LEAF_TTL).map_err(failed)?;
        files::write(&cert_path, &cert_pem)?;
        tracing::info!(subject = name, path = %cert_path.display(), "issued a certificate");
        Ok(Identity { cert_pem, key_pem: key.serialize_pem() })
    }

    /// Signs a certificate over `key` that is valid from now for `ttl`, at most as long as the CA.
    pub(super) fn issue(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        ttl: Duration,
    ) -> Result<String, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        params.not_before = now - BACKDATE;
        params.not_after = now.checked_add(ttl).unwrap_or(self.not_after).min(self.not_after);
        params.serial_number = Some(random_serial());
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    fn is_good(&self, cert_pem: &str, key: &KeyPair, subject: &Subject) -> bool {
        let Some(der) = der_of(cert_pem) else { return false };
        let (Some(cert), Some(ca)) = (parse(&der), parse(&self.cert_der)) else { return false };
        let renew_at = OffsetDateTime::now_utc() + RENEW_BEFORE;
        has_key(&cert, key)
            && cert.validity().not_after.to_datetime() > renew_at
            && sans_of(&cert) == subject.sans.iter().cloned().collect()
            && cert.verify_signature(Some(ca.public_key())).is_ok()
    }
}

fn self_sign(key: &KeyPair) -> Result<String, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + CA_TTL;
    params.serial_number = Some(random_serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let certificate = params
        .self_signed(key)
        .map_err(|source| Error::IssueCertificate { name: "kubernetes".into(), source })?;
    Ok(certificate.pem())
}

/// The ECDSA P-256 key in the file, made when there is none.
pub(super) fn load_or_create_key(path: &Path) -> Result<KeyPair, Error> {
    if let Some(pem) = files::read(path)? {
        return KeyPair::from_pem(&pem)
            .map_err(|source| Error::ParseKey { path: path.into(), source });
    }
    let key = KeyPair::generate().map_err(|source| Error::GenerateKey { source })?;
    files::write(path, &key.serialize_pem())?;
    Ok(key)
}

fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    // RFC 5280: a positive integer; the first octet must not be zero either, so that its length is fixed.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn der_of(pem: &str) -> Option<Vec<u8>> {
    Some(x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?.1.contents)
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    Some(x509_parser::parse_x509_certificate(der).ok()?.1)
}

fn has_key(cert: &X509Certificate<'_>, key: &KeyPair) -> bool {
    cert.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
}

fn sans_of(cert: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else { return BTreeSet::new() };
    extension.value.general_names.iter().filter_map(san_text).collect()
}

/// A DNS name or an IP address as text.
pub(super) fn san_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => ip_of(bytes).map(|ip| ip.to_string()),
        _ => None,
    }
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

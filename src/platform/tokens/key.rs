//! One key of `JWT_PRIVATE_KEY`: signs and checks access tokens, and gives a key of its own to each other purpose.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, OctetKeyPairParameters, OctetKeyPairType,
    PublicKeyUse,
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::zeroize::Zeroizing;
use tokio_rustls::{rustls::pki_types::PrivatePkcs8KeyDer, rustls::pki_types::pem::PemObject};

use crate::platform::digest::sha256;
use crate::platform::text_enum::text_enum;

text_enum! {
    /// What a signed or a derived token is for. All of them stand here, so that no two can have one key. Its key is derived with the
    /// name: another one would undo all that was given out.
    pub enum Purpose {
        Device = "device",
        RefreshRotation = "refresh token rotation",
        EmailVerification = "email_verification",
        EmailChange = "email_change",
        PasswordReset = "password_reset",
        HistoryCursor = "history cursor",
        ExportDownload = "export download",
    }
}

const UNUSABLE: &str = "holds something that is not an Ed25519 private key in PKCS#8 PEM";

pub(super) struct Key {
    /// From the public key: the same in every process.
    pub(super) id: String,
    pub(super) signing: EncodingKey,
    pub(super) checking: DecodingKey,
    public: Vec<u8>,
}

/// Every key of a text of PEM blocks. What is wrong is told without the text.
pub(super) fn read_all(pems: &str) -> Result<Vec<Key>, String> {
    let pems = Zeroizing::new(pems.replace("\\n", "\n"));
    let keys = PrivatePkcs8KeyDer::pem_slice_iter(pems.as_bytes()).map(|der| Key::read(&der.map_err(|_| UNUSABLE)?));
    let keys = keys.collect::<Result<Vec<_>, String>>()?;
    if keys.is_empty() { Err("holds no key".to_owned()) } else { Ok(keys) }
}

impl Key {
    fn read(der: &PrivatePkcs8KeyDer<'_>) -> Result<Self, String> {
        let der = der.secret_pkcs8_der();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| UNUSABLE)?;
        let signing = EncodingKey::from_ed_der(der);
        let public = pair.public_key().as_ref().to_vec();
        let id = BASE64_URL_SAFE_NO_PAD.encode(&sha256(&public)[..9]);
        Ok(Self { id, checking: DecodingKey::from_ed_der(&public), signing, public })
    }

    /// A key of its own for a purpose of its own, from the one secret that every process has.
    pub(super) fn derive(&self, purpose: Purpose) -> hmac::Key {
        let derived = Salt::new(HKDF_SHA256, b"octoco").extract(self.signing.as_bytes());
        let info = [purpose.name().as_bytes()];
        hmac::Key::from(derived.expand(&info, hmac::HMAC_SHA256).expect("32 bytes are not too many"))
    }

    pub(super) fn public_jwk(&self) -> Jwk {
        Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(KeyAlgorithm::EdDSA),
                key_id: Some(self.id.clone()),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: BASE64_URL_SAFE_NO_PAD.encode(&self.public),
            }),
        }
    }
}

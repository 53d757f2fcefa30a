//! TLS of the service itself, for where no edge in front of it speaks it: version 1.3 and nothing older. A new certificate is taken
//! with a restart, which loses no request (`docs/security.md`).

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};
use tokio_rustls::{TlsAcceptor, rustls::crypto::aws_lc_rs, rustls::pki_types::pem::PemObject};

pub use tokio_rustls::server::TlsStream;

#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads a chain, the server's own certificate first, and its key; both PEM.
    /// An error says which of the two is wrong, without repeating it.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, (&'static str, String)> {
        let chain = unescaped(chain);
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| ("TLS_CERT", "holds no certificate in PEM".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(unescaped(key).as_bytes());
        let key = key.map_err(|_| ("TLS_KEY", "holds no private key in PEM".to_owned()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|_| ("TLS_CERT", "cannot be used: this build has no TLS 1.3".to_owned()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| ("TLS_KEY", "cannot be used with TLS_CERT".to_owned()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The server's side of a handshake. It has no deadline of its own.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// Says that there is one, nothing of it.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Hosting panels leave the line breaks of a PEM as `\n`.
fn unescaped(pem: &str) -> secrecy::zeroize::Zeroizing<String> {
    pem.replace("\\n", "\n").into()
}

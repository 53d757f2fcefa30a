//! The HTTP server: binds, mounts the API, the hosted page and the control API, and stops. Called by `sim.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::shared::Shared;
use crate::{api, control, page};

/// How long requests in hand may still take at shutdown; hangs end at once.
const STOP_GRACE: Duration = Duration::from_millis(500);

pub(crate) async fn bind(listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let app: Router = Router::new()
        .merge(api::router(&shared))
        .merge(page::router())
        .merge(control::router())
        .with_state(Arc::clone(&shared));
    let listener = listener.tap_io(|stream| {
        // Otherwise small answers wait 40 ms for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    let (stop, late) = (shared.stop.clone(), shared.stop.clone());
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    let too_late = async move {
        late.cancelled().await;
        crate::clock::wait(STOP_GRACE).await;
    };
    tokio::select! {
        result = served.into_future() => {
            if let Err(error) = result {
                tracing::error!(%error, "the server failed");
            }
        }
        () = too_late => {}
    }
}

//! Those who bring news to callers who wait, one task a process that serves. On a stop everybody who waits is answered at once.

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::books::history::waiting;

pub async fn watch(app: App, stop: CancellationToken) {
    stop.run_until_cancelled(waiting::watch(&app)).await;
    waiting::stop(&app);
}

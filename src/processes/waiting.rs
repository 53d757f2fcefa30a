//! The one task, in each process that serves, that brings news to waiting callers. On a stop all who wait are answered at once.

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::books::{events, history::waiting};

pub async fn watch(app: App, stop: CancellationToken) {
    let news = async { tokio::join!(waiting::watch(&app), events::watch(&app)) };
    stop.run_until_cancelled(news).await;
    waiting::stop(&app);
    events::stop(&app);
}

//! The state file: everything in one JSON document, written beside the old one and renamed over it. Loaded by `sim::start`,
//! saved by a task of its own. A kill -9 loses what happened after the last save (a few hundredths of a second when small).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::shared::Shared;
use crate::world::World;

/// Changes of one moment share a save.
const GATHER: Duration = Duration::from_millis(20);
/// A large state may take at most this share of the time to save: it waits so many times as long as the last save took.
const REST_FACTOR: u32 = 10;

pub(crate) fn load(path: &Path) -> io::Result<World> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(World::default()),
        Err(error) => Err(error),
    }
}

pub(crate) fn save(shared: &Shared, path: &Path) -> io::Result<()> {
    // Two at once would share the file beside; whoever is second writes what is newest.
    let _one_at_a_time = shared.saving();
    let bytes = shared.read(|world| serde_json::to_vec(world)).map_err(io::Error::other)?;
    let beside = path.with_extension("tmp");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

/// Saves after changes until the simulator stops; the last save is `Sim::shutdown`'s.
pub(crate) async fn keep_saved(shared: Arc<Shared>) {
    let Some(path) = shared.options.state_file.clone() else { return };
    loop {
        shared.dirty.notified().await;
        clock::wait(GATHER).await;
        let began = Instant::now();
        let (saver, target) = (Arc::clone(&shared), path.clone());
        match tokio::task::spawn_blocking(move || save(&saver, &target)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, path = %path.display(), "cannot save the state"),
            Err(error) => tracing::error!(%error, "saving the state panicked"),
        }
        clock::wait(began.elapsed() * REST_FACTOR).await;
    }
}

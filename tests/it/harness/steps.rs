//! What is done at once for a test and takes a worker, or two people, elsewhere.

use octoco::identity::audit::Actor;
use octoco::identity::users;
use octoco::platform::error::Result;
use octoco::platform::permissions::Role;
use octoco::platform::queue::Step;
use uuid::Uuid;

use super::TestApp;

impl TestApp {
    /// By nobody's word, from this moment on.
    pub(crate) async fn give_role(&self, user: Uuid, role: Role) {
        let mut tx = self.app.db.begin().await.expect("PostgreSQL answers");
        let before = users::change_role_within(&self.app, &mut tx, &Actor::system(), (user, role)).await;
        before.expect("the user is there");
        tx.commit().await.expect("PostgreSQL answers");
    }
}

/// Takes the steps that were claimed to their end, all at once. How many there were.
pub(crate) async fn stepped<'a>(claimed: impl Future<Output = Result<Vec<Step<'a>>>>) -> Result<usize> {
    Ok(futures_util::future::join_all(claimed.await?).await.len())
}

//! A call to Revio that a restored row has forgotten may still have its effect.

use octoco::platform::permissions::Role;
use revio_sim::{Fault, FaultKind, PayoutBehaviour, Scope};
use sqlx::PgPool;

use super::{empty, leave, look, wait};
use crate::backups;
use crate::harness::TestApp;

/// Its first call was not answered, and the row has forgotten it. Until no call can have its effect nobody is told that it can be decided about, nor
/// is an `error`, which may be the word on another call, the last one.
#[sqlx::test]
async fn a_forgotten_call_that_may_still_pay_releases_nothing(db: PgPool) {
    for says_error in [false, true] {
        let t = TestApp::new(db.clone()).await;
        let (admin, customer) = (t.staff(Role::Admin).await, t.customer_with(10_000).await);
        t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateEffect { secs: 600, status: 502 }));
        let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
        backups::take(&db).await;
        t.drive().await;
        if says_error {
            t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "insufficient_balance".to_owned() });
            wait(&t, 2).await;
            t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
        }
        backups::restore(&db).await;
        assert_eq!(t.state(withdrawal).await, "reserved");
        look(&t).await;
        wait(&t, 6).await;
        let told = t.held_reason(withdrawal).await;
        assert_eq!((t.state(withdrawal).await.as_str(), told), ("submitting", None), "{says_error}");
        leave(&t, &admin).await;
        wait(&t, 30).await;
        assert_eq!(t.state(withdrawal).await, "completed", "{says_error}: {:?}", t.held_reason(withdrawal).await);
        assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (1, (6_000, 0, 6_000)));
        empty(&t).await;
    }
}

//! That rows and ledger agree, customer by customer. Every test ends with it (`TestApp::finish`).

use ledger::{Account, AccountCode, Currency, Side};
use octoco::books::projector;
use uuid::Uuid;

use super::TestApp;

impl TestApp {
    /// Customer by customer the rows and the ledger agree, and over the whole ledger debits equal credits.
    pub(crate) async fn assert_books_balance(&self) {
        let rows: Vec<(Uuid, i64, i64, i64)> =
            sqlx::query_as(BOOKS).fetch_all(&self.app.db).await.expect("PostgreSQL answers");
        let (mut wallets, mut receivables) = (0, 0);
        for (user, posted, pending, owed) in rows {
            let wallet = self.wallet(user).await;
            if wallet.posted() != posted || wallet.pending() != pending {
                eprintln!("{}", self.history_of(user).await);
            }
            assert_eq!(wallet.posted(), posted, "posted of {user}");
            assert_eq!(wallet.pending(), pending, "pending of {user}");
            assert!(wallet.available() >= 0, "a wallet below zero");
            let receivable = self.owed(user).await;
            assert_eq!(receivable, owed, "owed by {user}");
            wallets += posted;
            receivables += owed;
        }
        let (mut debits, mut credits) = (receivables, wallets);
        // The source of the velocity limits holds no money.
        let company = |code: &AccountCode| !code.is_customers() && *code != AccountCode::LimitSource;
        for code in AccountCode::ALL.into_iter().filter(company) {
            let posted = self.system_balance(code).await.posted();
            match code.normal_side() {
                Side::Debit => debits += posted,
                Side::Credit => credits += posted,
            }
        }
        assert_eq!(debits, credits, "debits and credits");
    }

    /// Each row of a customer and each transfer in the ledger, for whoever reads that the two differ.
    async fn history_of(&self, user: Uuid) -> String {
        projector::catch_up(&self.app).await.expect("the ledger can be copied");
        let history = sqlx::query_scalar(
            "select coalesce(string_agg(line, chr(10) order by line), '') from (
               select to_jsonb(t)::text from transactions t where t.user_id = $1 union all
               select to_jsonb(l)::text from ledger_transfers l join ledger_accounts a on a.id in (l.debit_account_id, l.credit_account_id)
                where a.user_id = $1
             ) as lines (line)",
        );
        history.bind(user).fetch_one(&self.app.db).await.expect("PostgreSQL answers")
    }

    /// What a customer owes us.
    pub(crate) async fn owed(&self, user: Uuid) -> i64 {
        self.app.ledger.balance(Account::receivable(user, Currency::ZAR)).await.expect("the ledger answers").posted()
    }
}

/// What the rows of each customer say of the wallet (posted, pending) and of what the customer owes.
const BOOKS: &str = "
    select u.id,
           coalesce(sum(case when kind in ('refund', 'chargeback', 'chargeback_reversal') and state = 'failed' then owed_minor
                             when state <> 'completed' or kind <> 'adjustment' and c.transaction_id is not null then 0
                             when a.direction = 'credit' then t.amount_minor
                             when a.direction = 'debit' then -t.amount_minor
                             when kind in ('deposit', 'chargeback_reversal') then t.amount_minor
                             else owed_minor - t.amount_minor end - repaid_minor), 0)::bigint,
           coalesce(sum(case when kind = 'withdrawal' and state in ('reserved', 'awaiting_approval', 'submitting', 'submitted')
                             then t.amount_minor else 0 end), 0)::bigint,
           coalesce(sum(owed_minor - repaid_minor), 0)::bigint - coalesce((select sum(j.amount_minor)::bigint
               from journals j where j.user_id = u.id and j.kind = 'write_off' and j.state = 'completed'), 0)
      from users u left join transactions t on t.user_id = u.id
           left join adjustments a on a.transaction_id = t.id
           left join suspense_clearings c on c.transaction_id = t.id and c.given_up_at is null group by u.id";

//! `RETENTION`: how long what nobody needs any more is kept, `what:90d` with commas. Read with the other settings by `config.rs`; what is
//! kept for ever (money, its idempotency keys, the audit log of changes) has no name here.

use chrono::TimeDelta;

const DAYS_MAX: i64 = 3_650;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What webhooks held; the facts of each call stay. Default 90 days.
    pub webhook_bodies: TimeDelta,
    /// Calls of the webhook endpoint that nobody has signed. Default 30 days.
    pub refused_deliveries: TimeDelta,
    /// Sessions, after their end. Default 30 days.
    pub sessions: TimeDelta,
    /// Mails that went out or were of no use. Default 30 days.
    pub mails: TimeDelta,
    /// Our webhooks, with what became of them. Default 30 days; at least 4, for they are tried for three.
    pub outgoing_webhooks: TimeDelta,
    /// Who of the staff read what; that something was read stays. Default 365 days; at least 31, which the log's trigger demands.
    pub audit_reads: TimeDelta,
    /// What files of Revio's and the bank's held, as long as the books' evidence must be kept; what was found in them stays. Default 2,557
    /// days: seven years.
    pub statement_files: TimeDelta,
}

impl Retention {
    pub fn parse(value: &str) -> Result<Self, String> {
        let mut kept = Self {
            webhook_bodies: TimeDelta::days(90),
            refused_deliveries: TimeDelta::days(30),
            sessions: TimeDelta::days(30),
            mails: TimeDelta::days(30),
            outgoing_webhooks: TimeDelta::days(30),
            audit_reads: TimeDelta::days(365),
            statement_files: TimeDelta::days(2_557),
        };
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let days = |text: &str| text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
            let (what, days) = entry
                .split_once(':')
                .and_then(|(what, text)| Some((what, days(text)?)))
                .ok_or("must be what:90d, with commas")?;
            let (time, least) = match what {
                "webhook_bodies" => (&mut kept.webhook_bodies, 1),
                "refused_deliveries" => (&mut kept.refused_deliveries, 1),
                "sessions" => (&mut kept.sessions, 1),
                "outgoing_webhooks" => (&mut kept.outgoing_webhooks, 4),
                "mails" => (&mut kept.mails, 1),
                "audit_reads" => (&mut kept.audit_reads, 31),
                "statement_files" => (&mut kept.statement_files, 1),
                _ => return Err("holds something that is not pruned".to_owned()),
            };
            if !(least..=DAYS_MAX).contains(&days) {
                return Err(format!("must give {what} {least} to {DAYS_MAX} days"));
            }
            *time = TimeDelta::days(days);
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_named_and_what_is_not_pruned_has_none() {
        let usual = Retention::parse("").expect("the usual times");
        let set = Retention::parse("mails:7d, audit_reads:31d").expect("two times");
        assert_eq!(set, Retention { mails: TimeDelta::days(7), audit_reads: TimeDelta::days(31), ..usual });
        for wrong in ["mails", "mails:7", "mails:0d", "mails:4000d", "mails:-1d", "audit_reads:30d", "transactions:7d"]
        {
            assert!(Retention::parse(wrong).is_err(), "{wrong}");
        }
    }
}

"""The cases of what is not about the books (alert_cases.py), and all of them together."""

from alert_cases import BOOKS, QUEUE, RUN, STARTED, TICKET, ZAR, Case

BOTH = ("page", "ticket")
WEBHOOKS = 'octoco_webhook_calls_total{verdict="%s"} %s'
STATES = 'octoco_transaction_states_total{kind="%s",state="%s"} %s'
CALLS = 'octoco_revio_calls_total{class="%s",outcome="ok"} %s'
VERIFIED = 'octoco_audit_verified_timestamp_seconds{instance="%s"} %s'
READ = 'octoco_gauges_read_timestamp_seconds{instance="%s"} %s'
LEDGER = 'octoco_ledger_call_seconds_count{call="create_transfers",outcome="%s"} %s'
DISK = 'node_filesystem_%s_bytes{instance="db",mountpoint="/",fstype="ext4"} %s'
ON_DISK = {"instance": "db", "mountpoint": "/", "fstype": "ext4"}
REQUESTS = 'octoco_http_requests_total{route="/v1/balances",status="%s"} %s'
PROBES = 'octoco_http_requests_total{route="/readyz",status="503"} 0+60x90'
POOL = 'octoco_db_pool_connections{job="octoco",instance="api",pool="main",state="%s"} %s'


def histogram(name, within, count):
    bound = {"octoco_webhook_effect_seconds": "30", "octoco_withdrawal_submission_seconds": "300"}[name]
    return f'{name}_bucket{{le="{bound}"}} {within}\n{name}_count {count}'


SERVICE = (
    Case(
        "NoDepositsBooked",
        "16m",
        WEBHOOKS % ("accepted", "0+1x60")
        + "\n"
        + "\n".join(STATES % (*of, "0x60") for of in (("deposit", "completed"), ("withdrawal", "completed"))),
        # Payouts alone.
        WEBHOOKS % ("accepted", "0+1x60")
        + "\n"
        + STATES % ("deposit", "completed", "0x60")
        + "\n"
        + STATES % ("withdrawal", "completed", "0+0.5x60"),
        "Revio told of 16 events in 30 minutes, and no deposit was completed",
    ),
    Case(
        "WebhooksSilent",
        "130m",
        WEBHOOKS % ("accepted", "7x150") + "\n" + CALLS % ("deposits", "0+1x150"),
        "\n".join(
            (
                WEBHOOKS % ("accepted", "7x150"),
                CALLS % ("deposits", "5x150"),
                CALLS % ("registrations", "5x150"),
                # Payouts are looked up again and again, also when nothing is to be told.
                CALLS % ("payouts", "0+1x150"),
                CALLS % ("polling", "0+1x150"),
            )
        ),
        "Revio has sent no webhook for two hours",
    ),
    Case(
        "WebhooksSilent",
        "130m",
        WEBHOOKS % ("accepted", "7x150") + "\n" + CALLS % ("registrations", "0+1x150"),
        WEBHOOKS % ("accepted", "0+1x150") + "\n" + CALLS % ("registrations", "0+1x150"),
        "Revio has sent no webhook for two hours",
    ),
    Case(
        "ForgedWebhooks",
        "16m",
        WEBHOOKS % ("bad_signature", "0+1x30"),
        WEBHOOKS % ("bad_signature", "0+0.5x30"),
        "15 webhooks in 15 minutes were not signed by Revio",
        TICKET,
    ),
    Case(
        "DeadEvents",
        "15m",
        QUEUE % ("rows", "inbox", "dead", "4x30"),
        QUEUE % ("rows", "inbox", "dead", "0x30") + "\n" + QUEUE % ("rows", "mails", "dead", "4x30"),
        "4 of Revio's events are dead letters",
        TICKET,
    ),
    Case(
        "MailsDead",
        "15m",
        QUEUE % ("rows", "mails", "dead", "11x30"),
        QUEUE % ("rows", "mails", "dead", "10x30"),
        "11 mails of the last day did not go out, or not yet",
        TICKET,
    ),
    Case(
        "OutgoingDead",
        "15m",
        QUEUE % ("rows", "outgoing", "dead", "3x30"),
        QUEUE % ("rows", "outgoing", "dead", "0x30") + "\n" + QUEUE % ("rows", "mails", "dead", "4x30"),
        "3 webhooks of ours of the last day did not arrive",
        TICKET,
    ),
    Case(
        "OutgoingBehind",
        "15m",
        QUEUE % ("age_seconds", "outgoing", "pending", "1860x30"),
        QUEUE % ("age_seconds", "outgoing", "pending", "1800x30"),
        "A webhook of ours has been due for 31m 0s",
        TICKET,
    ),
    Case(
        "StuckRows",
        "10m",
        QUEUE % ("age_seconds", "deposit", "due", "960x30"),
        QUEUE % ("age_seconds", "deposit", "due", "900x30")
        + "\n"
        + QUEUE % ("age_seconds", "deposit", "held", "9999x30"),
        "The oldest row of queue deposit has waited 16m 0s",
        labels={"queue": "deposit"},
    ),
    Case(
        "WorkerBlind",
        "10m",
        READ % ("worker", "60x30") + "\n" + READ % ("api", "0x30"),
        # One of two workers reads them.
        "\n".join(READ % one for one in (("worker", "60x30"), ("other", "0+60x30"), ("api", "0x30"))),
        "No worker has read what waits for 3 minutes, or there is none",
    ),
    Case(
        "WorkerBlind",
        "5m",
        'up{job="octoco"} 1x30',
        READ % ("worker", "0+60x30"),
        "No worker has read what waits for 3 minutes, or there is none",
    ),
    Case(
        "StepsSetBack",
        "16m",
        'octoco_safe_mode{instance="worker"} 1x60\n'
        'octoco_task_steps_total{instance="worker",task="withdrawal",outcome="set_back"} 0+10x60\n'
        'octoco_task_steps_total{instance="worker",task="journal",outcome="set_back"} 0+10x60\n'
        'octoco_task_steps_total{instance="worker",task="withdrawal",outcome="completed"} 7x60',
        'octoco_task_steps_total{instance="worker",task="withdrawal",outcome="set_back"} 0+10x60\n'
        'octoco_task_steps_total{instance="worker",task="withdrawal",outcome="completed"} 0+1x60',
        "Of withdrawal nothing has been done for half an hour: 150 steps were set back in 15 minutes",
        labels={"task": "withdrawal"},
    ),
    Case(
        "RevioPaused",
        "5m",
        'octoco_revio_paused_seconds{instance="worker",calls="payouts"} 30 0 90 0 60 0 110 0 30 0 0',
        'octoco_revio_paused_seconds{instance="worker",calls="payouts"} 30 0 0 0 0 0 0 0 0 0 0',
        "Revio is left alone about payouts",
        labels={"calls": "payouts"},
    ),
    Case(
        "PayoutsWaitForPlaces",
        "34m",
        'octoco_revio_budget_waits_total{instance="worker",class="executions"} 0+30x60',
        'octoco_revio_budget_waits_total{instance="worker",class="polling"} 0+30x60',
        "For half an hour payouts have waited for places in the budget of calls to Revio, 0.5 times a second",
    ),
    Case(
        "LedgerUnknown",
        "6m",
        LEDGER % ("unknown", "0+2x30") + "\n" + LEDGER % ("ok", "0+2x30"),
        LEDGER % ("unknown", "4x30") + "\n" + LEDGER % ("refused", "0+2x30"),
        "10 calls to TigerBeetle in 5 minutes got no answer",
        labels={"scope": "some"},
    ),
    Case(
        "LedgerUnknown",
        "6m",
        LEDGER % ("unknown", "0+3x30") + "\n" + LEDGER % ("ok", "0+2x30"),
        LEDGER % ("unknown", "0x30") + "\n" + LEDGER % ("ok", "0+2x30"),
        "15 calls to TigerBeetle in 5 minutes got no answer",
        labels={"scope": "all"},
    ),
    Case(
        "ReadModelBehind",
        "5m",
        'octoco_read_model_lag_seconds{instance="worker",currency="ZAR"} 90x30',
        'octoco_read_model_lag_seconds{instance="worker",currency="ZAR"} 60x30',
        "The ledger's copy is 1m 30s behind in ZAR",
        TICKET,
        ZAR,
    ),
    Case(
        "Contradiction",
        "6m",
        "octoco_read_model_contradictions_total 0x5 1x9",
        "octoco_read_model_contradictions_total 3x15",
        "The ledger says what cannot be, or its copy cannot follow it",
    ),
    Case(
        "Contradiction",
        "6m",
        "octoco_ledger_contradictions_total 0x5 1x9\noctoco_read_model_contradictions_total 3x15",
        "octoco_ledger_contradictions_total 3x15",
        "The ledger says what cannot be, or its copy cannot follow it",
    ),
    Case(
        "RefreshReuse",
        "35m",
        'octoco_sign_ins_total{outcome="token_reused"} 0+0.1x90',
        'octoco_sign_ins_total{outcome="token_reused"} 0+0.05x90\noctoco_sign_ins_total{outcome="refused"} 0+5x90',
        "4 sessions in an hour ended because a refresh token was used twice",
        TICKET,
    ),
    Case(
        "AuditChainBroken",
        "5m",
        'octoco_audit_chain_intact{instance="worker"} 0x9\noctoco_audit_chain_intact{instance="api"} 1x9\n'
        'octoco_read_model_lag_seconds{instance="worker",currency="ZAR"} 0x9',
        # The API's process is of an earlier release.
        'octoco_audit_chain_intact{instance="worker"} 1x9\noctoco_audit_chain_intact{instance="api"} 0x9\n'
        'octoco_read_model_lag_seconds{instance="worker",currency="ZAR"} 0x9',
        "The chain of the audit log does not hold",
    ),
    Case(
        "AuditUnwatched",
        "71m",
        # One process has not looked yet, and the clock was days ahead when another one did.
        "\n".join(VERIFIED % of for of in (("worker", "300x90"), ("api", "0x90"), ("ahead", "900000x90"))),
        "\n".join((VERIFIED % ("worker", "900x90"), VERIFIED % ("api", "0x90"), STARTED % "60x90")),
        "Nobody has looked at the chain of the audit log for 1h 6m 0s",
        TICKET,
    ),
    Case(
        "AuditUnwatched",
        "71m",
        VERIFIED % ("worker", "900000x90") + "\n" + STARTED % "300x90",
        VERIFIED % ("worker", "60+60x90") + "\n" + STARTED % "300x90",
        "Nobody has looked at the chain of the audit log for 1h 6m 0s",
        TICKET,
    ),
    Case(
        "TargetDown",
        "3m",
        'up{job="redis",instance="a"} 0x9\nup{job="redis",instance="b"} 1x9\nup{job="octoco",instance="a"} 1x9',
        'up{job="redis",instance="a"} 0x2 1x9\nup{job="octoco",instance="a"} 1x9',
        "1 targets of job redis do not answer",
        labels={"job": "redis", "scope": "some"},
    ),
    Case(
        "TargetDown",
        "3m",
        'up{job="octoco",instance="a"} 0x9\nup{job="octoco",instance="b"} 0x9',
        'up{job="octoco",instance="a"} 1x9\nup{job="octoco",instance="b"} 0x1 1x9',
        "2 targets of job octoco do not answer",
        labels={"job": "octoco", "scope": "all"},
    ),
    Case(
        "ProcessRestarts",
        "20m",
        'process_start_time_seconds{job="octoco",instance="a"} 0x4 300x4 600x4 900x4 1200x30',
        'process_start_time_seconds{job="octoco",instance="a"} 0x9 600x4 900x4 1200x30\nup 1x30',
        "a began 4 times anew in 30 minutes",
        labels={"job": "octoco", "instance": "a"},
    ),
    Case(
        "SchemaBehind",
        "5m",
        'octoco_schema_current{instance="worker"} 0x9\noctoco_schema_current{instance="api"} 1x9',
        'octoco_schema_current{instance="worker"} 0x3 1x9\noctoco_schema_current{instance="api"} 1x9',
        "The schema is older than worker, which begins no work",
        labels={"instance": "worker"},
    ),
    Case(
        "LogLinesDropped",
        "6m",
        'octoco_log_lines_dropped_total{instance="api"} 0+3x30',
        'octoco_log_lines_dropped_total{instance="api"} 7x30',
        "18 lines of the log of api were dropped in 15 minutes",
        TICKET,
        {"instance": "api"},
    ),
    Case("Watchdog", "0m", "up 1x5", "", "Alerts arrive", ("none",)),
)

PARTS = (
    Case(
        "TigerBeetleNotNormal",
        "5m",
        'tb_replica_status{cluster="0",replica="3"} 2x9\ntb_replica_status{cluster="0",replica="4"} 0x9',
        'tb_replica_status{cluster="0",replica="3"} 2x3 0x9\ntb_replica_sync_stage{cluster="0",replica="3"} 0x9',
        "Replica 3 of TigerBeetle is not normal",
        labels={"cluster": "0", "replica": "3"},
    ),
    Case(
        "TigerBeetleNotNormal",
        "5m",
        'tb_replica_status{cluster="0",replica="3"} 0x9\ntb_replica_sync_stage{cluster="0",replica="3"} 1x9',
        'tb_replica_status{cluster="0",replica="3"} 0x9\ntb_replica_sync_stage{cluster="0",replica="3"} 1x3 0x9',
        "Replica 3 of TigerBeetle is not normal",
        labels={"cluster": "0", "replica": "3"},
    ),
    Case(
        "TigerBeetleSilent",
        "11m",
        """tb_replica_status{cluster="0",replica="3"} 0x5 stale
        tb_replica_status{cluster="0",replica="4"} 0x30
        up{job="tigerbeetle"} 1x30""",
        """tb_replica_status{cluster="0",replica="3"} 0x30
        tb_replica_status{cluster="0",replica="4"} 0x30
        up{job="tigerbeetle"} 1x30""",
        "Replica 3 of TigerBeetle tells nothing any more",
        labels={"cluster": "0", "replica": "3"},
    ),
    Case(
        "TigerBeetleSilent",
        "5m",
        'up{job="tigerbeetle"} 1x30',
        'up{job="octoco"} 1x30',
        "Replica (all) of TigerBeetle tells nothing any more",
    ),
    Case(
        "TigerBeetleFaulty",
        "15m",
        'tb_journal_faulty{cluster="0",replica="3"} 2x30',
        'tb_journal_faulty{cluster="0",replica="3"} 2x10 0x30',
        "2 entries in the journal of replica 3 of TigerBeetle are broken",
        TICKET,
        {"cluster": "0", "replica": "3"},
    ),
    Case(
        "PostgresDown",
        "2m",
        'pg_up{instance="db"} 0x9',
        'pg_up{instance="db"} 0x1 1x9',
        "PostgreSQL at db does not answer its exporter",
        labels={"instance": "db"},
    ),
    Case(
        "PoolFull",
        "10m",
        POOL % ("in_use", "10x30") + "\n" + POOL % ("max", "10x30"),
        POOL % ("in_use", "9x30") + "\n" + POOL % ("max", "10x30"),
        "100% of the connections to PostgreSQL of api are in use",
        labels={"job": "octoco", "instance": "api", "pool": "main"},
    ),
    Case(
        "DatabaseNotDurable",
        "2m",
        'octoco_database_durable{instance="worker"} 0x9\noctoco_database_durable{instance="api"} 1x9',
        'octoco_database_durable{instance="worker"} 0x1 1x9\noctoco_database_durable{instance="api"} 1x9',
        "No payout begins in worker, PostgreSQL may forget a commit",
        labels={"instance": "worker"},
    ),
    Case(
        "ClocksApart",
        "1m",
        'octoco_clock_offset_seconds{instance="worker",to="postgresql"} -2.5x9',
        'octoco_clock_offset_seconds{instance="worker",to="postgresql"} -2x9',
        "No payout begins in worker, its clock is 2.5 s from that of postgresql",
        labels={"instance": "worker", "to": "postgresql"},
    ),
    Case(
        "ClockUnsynced",
        "10m",
        'node_timex_sync_status{instance="db"} 0x30',
        'node_timex_sync_status{instance="db"} 1x30\nnode_timex_offset_seconds{instance="db"} -0.4x30',
        "The clock of db is not kept right",
        TICKET,
        {"instance": "db"},
    ),
    Case(
        "RedisFallback",
        "11m",
        'octoco_rate_limit_answers_total{class="user",answer="allowed",by="process"} 0+3x30\nredis_up 1x30',
        'octoco_rate_limit_answers_total{class="user",answer="allowed",by="redis"} 0+3x30\nredis_up 1x30',
        "Redis is away, each process counts for itself",
        TICKET,
    ),
    Case(
        "RedisFallback",
        "10m",
        "redis_up 0x30",
        "redis_up 0x5 1x30",
        "Redis is away, each process counts for itself",
        TICKET,
    ),
    Case(
        "DiskFilling",
        "15m",
        DISK % ("avail", "40x30") + "\n" + DISK % ("size", "1000x30"),
        DISK % ("avail", "200x30") + "\n" + DISK % ("size", "1000x30"),
        "/ of db is filling up",
        BOTH,
        ON_DISK,
    ),
    Case(
        "DiskFilling",
        "16m",
        DISK % ("avail", "800-0.8x90") + "\n" + DISK % ("size", "1000x90"),
        DISK % ("avail", "800-0.1x90") + "\n" + DISK % ("size", "1000x90"),
        "/ of db is filling up",
        TICKET,
        ON_DISK,
    ),
    Case(
        "BackupOld",
        "1600m",
        'octoco_backup_last_success_timestamp_seconds{store="postgres"} 600x1620\nup{job="node"} 1x1620',
        'octoco_backup_last_success_timestamp_seconds{store="postgres"} 4000x1620\nup{job="node"} 1x1620',
        "No backup of postgres has succeeded for a day",
        TICKET,
        {"store": "postgres"},
    ),
    Case(
        "BackupOld",
        "15m",
        'up{job="node"} 1x30',
        'up{job="octoco"} 1x30',
        "No backup of anything has succeeded for a day",
        TICKET,
    ),
)


def burns(alert, at, fires, quiet, summary, slo):
    """First it wakes somebody, a while later it would also be a ticket."""
    page, ticket = at
    common = {"labels": {"slo": slo}}
    return (
        Case(alert, page, fires, quiet, summary, **common),
        Case(alert, ticket, fires, quiet, summary, BOTH, before=("page",), **common),
    )


SLOS = (
    *burns(
        "ApiBurn",
        ("2m", "17m"),
        REQUESTS % ("200", "0+90x90") + "\n" + REQUESTS % ("500", "0+10x90"),
        REQUESTS % ("200", "0+99.95x90") + "\n" + REQUESTS % ("500", "0+0.05x90") + "\n" + PROBES,
        "Requests are answered 5xx, 100.0 times as often as 30 days allow",
        "api",
    ),
    # Slowly.
    Case(
        "ApiBurn",
        "17m",
        REQUESTS % ("200", "0+99.8x90") + "\n" + REQUESTS % ("500", "0+0.2x90"),
        REQUESTS % ("200", "0+99.95x90") + "\n" + REQUESTS % ("500", "0+0.05x90"),
        "Requests are answered 5xx, 2.0 times as often as 30 days allow",
        TICKET,
        {"slo": "api"},
    ),
    # A quiet night: 60 requests an hour. Five failures are a page, four are not.
    *burns(
        "ApiBurn",
        ("52m", "66m"),
        REQUESTS % ("200", "0+0.9x90") + "\n" + REQUESTS % ("500", "0+0.1x90"),
        REQUESTS % ("200", "0+0.94x90") + "\n" + REQUESTS % ("500", "0+0.06x90"),
        "Requests are answered 5xx, 100.0 times as often as 30 days allow",
        "api",
    ),
    *burns(
        "WebhookBurn",
        ("4m", "18m"),
        histogram("octoco_webhook_effect_seconds", "0+8x90", "0+10x90"),
        histogram("octoco_webhook_effect_seconds", "0+9.95x90", "0+10x90"),
        "Webhooks have their effect late, 20.0 times as often as 30 days allow",
        "webhook",
    ),
    *burns(
        "WithdrawalBurn",
        ("4m", "18m"),
        histogram("octoco_withdrawal_submission_seconds", "0+8x90", "0+10x90"),
        histogram("octoco_withdrawal_submission_seconds", "0+9.95x90", "0+10x90"),
        "Withdrawals reach Revio late, 20.0 times as often as 30 days allow",
        "withdrawal",
    ),
    *burns(
        "RunsBurn",
        ("41m", "56m"),
        RUN % ("quarter_hour", "_x40 60x80"),
        RUN % ("quarter_hour", "60+60x120"),
        "Reconciliation is not fresh, 200.0 times as often as 30 days allow",
        "run",
    ),
)

CASES = (*BOOKS, *SERVICE, *PARTS, *SLOS)

//! The session with the cluster, shared by every call of the process: bounds each call in time and in number, and replaces the
//! session when the cluster has ended it. `client` opens and closes it, `calls` sends through it.
//!
//! Three facts of tb_client 0.16.78 and its Rust wrapper shape this file:
//! 1. It never gives up. So each request runs in a task of its own that keeps its permit until the answer is really there,
//!    and the caller waits for that task only until the deadline.
//! 2. After an eviction it fails what is queued, and *swallows* what is submitted later (context.zig: `ClientInvalid`; the
//!    wrapper's `submit` ignores that): no answer ever. So every waiting request also watches for a new session and is sent
//!    again there. Ids are fixed, so sending twice does once.
//! 3. If nothing was queued at the eviction, nobody is told. So a session that has been silent for a whole deadline is
//!    compared with a fresh one: if that is answered and this one still not, it is replaced. The fresh one also resolves the
//!    host names again, which heals a cluster that has moved.

use std::future::{Future, pending};
use std::mem::ManuallyDrop;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tigerbeetle_unofficial::Client;
use tigerbeetle_unofficial::error::{SendError, SendErrorKind};
use tokio::sync::{Mutex, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::error::LedgerError::{self, Contradiction, Unknown};
use crate::error::{ConnectError, UnknownCause};

/// The first try, one more on the session that replaces an evicted one, and one for a replacement that meets the same fate.
const ATTEMPTS_MAX: u32 = 3;

/// How long a fresh session may take to be answered; 0.6 s of it are always spent on registering (measured).
const PROBE_MAX: Duration = Duration::from_secs(3);

/// How long `close` waits for requests in flight, and then for the client to stop.
const DRAIN_MAX: Duration = Duration::from_millis(800);
const STOP_MAX: Duration = Duration::from_millis(800);

pub(crate) struct Session {
    /// `None` only while being dropped.
    client: Option<Client>,
    answers: AtomicU64,
    ended: AtomicBool,
}

impl Session {
    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("the client is taken only when the session is dropped")
    }

    fn stop(mut self) -> Option<oneshot::Receiver<()>> {
        self.client.take().map(stop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(stop(client));
        }
    }
}

/// Dropping a client joins its I/O thread, which must not happen on a thread of the runtime. If no thread can be had, the
/// client is leaked. The receiver ends when the client has stopped.
fn stop(client: Client) -> oneshot::Receiver<()> {
    let (stopped, receiver) = oneshot::channel::<()>();
    let client = ManuallyDrop::new(client);
    let thread = std::thread::Builder::new().name("ledger-stop".to_owned()).spawn(move || {
        drop(ManuallyDrop::into_inner(client));
        drop(stopped);
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread to stop a TigerBeetle client on: leaked it");
    }
    receiver
}

pub(crate) struct Endpoint {
    pub(crate) cluster_id: u128,
    pub(crate) addresses: String,
}

impl Endpoint {
    async fn open(&self) -> Result<Session, ConnectError> {
        let (mut resolved, mut unknown) = (Vec::new(), None);
        for address in self.addresses.split(',') {
            match resolve(address.trim()).await {
                Ok(found) => resolved.push(found),
                // One machine of several is away, and its name with it: the others are asked, each at its place.
                Err(error @ ConnectError::Resolve { .. }) => {
                    tracing::warn!(%error, "a TigerBeetle replica is left out");
                    resolved.push(NOWHERE);
                    unknown = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = unknown.filter(|_| resolved.iter().all(|found| *found == NOWHERE)) {
            return Err(error);
        }
        let resolved: Vec<String> = resolved.iter().map(SocketAddr::to_string).collect();
        let client = Client::new(self.cluster_id, resolved.join(",")).map_err(ConnectError::Client)?;
        Ok(Session { client: Some(client), answers: AtomicU64::new(0), ended: AtomicBool::new(false) })
    }
}

/// Where nobody is (RFC 5737), and a connection is not even refused.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 3000);

/// `port`, `ip:port` or `host:port`; of a host's addresses the first IPv4 one, else the first.
async fn resolve(address: &str) -> Result<SocketAddr, ConnectError> {
    let invalid = || ConnectError::Address(address.to_owned());
    let found = if let Ok(port) = address.parse::<u16>() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    } else if let Ok(found) = address.parse::<SocketAddr>() {
        found
    } else {
        let port = address.rsplit_once(':').ok_or_else(invalid)?.1;
        port.parse::<u16>().map_err(|_| invalid())?;
        let failed = |source| ConnectError::Resolve { address: address.to_owned(), source };
        let all: Vec<SocketAddr> = tokio::net::lookup_host(address).await.map_err(failed)?.collect();
        let first = all.iter().find(|a| a.is_ipv4()).or(all.first());
        *first.ok_or_else(invalid)?
    };
    if found.port() == 0 { Err(invalid()) } else { Ok(found) }
}

pub(crate) struct Connection {
    endpoint: Endpoint,
    deadline: Duration,
    in_flight_max: u32,
    permits: Arc<Semaphore>,
    /// `None` once closed.
    current: watch::Sender<Option<Arc<Session>>>,
    replacing: Mutex<()>,
}

impl Connection {
    pub(crate) async fn open(endpoint: Endpoint, deadline: Duration, in_flight_max: u32) -> Result<Self, ConnectError> {
        let session = Arc::new(endpoint.open().await?);
        let permits = usize::try_from(in_flight_max).ok().filter(|n| (1..=Semaphore::MAX_PERMITS).contains(n));
        Ok(Self {
            endpoint,
            deadline,
            in_flight_max,
            permits: Arc::new(Semaphore::new(permits.ok_or(ConnectError::InFlightMax)?)),
            current: watch::Sender::new(Some(session)),
            replacing: Mutex::new(()),
        })
    }

    /// Sends a request and waits for the answer, at most `deadline`. The request goes on after that, and also when the returned
    /// future is dropped. `send` may be called again, on another session.
    pub(crate) async fn request<T, F, Fut>(self: &Arc<Self>, send: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Fn(Arc<Session>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, SendError>> + Send,
    {
        let started = Instant::now();
        let permit = timeout(self.deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| Unknown(UnknownCause::Overloaded))?.expect("nobody closes the semaphore");
        let connection = Arc::clone(self);
        let answer = detach(async move {
            let answer = connection.ask(send).await;
            drop(permit);
            answer
        });
        match timeout(self.deadline.saturating_sub(started.elapsed()), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failed)) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_runtime_is_stopping) => Err(Unknown(UnknownCause::Closed)),
            },
            Err(_elapsed) => Err(Unknown(UnknownCause::Deadline)),
        }
    }

    async fn ask<T, F, Fut>(&self, send: F) -> Result<T, LedgerError>
    where
        F: Fn(Arc<Session>) -> Fut,
        Fut: Future<Output = Result<T, SendError>>,
    {
        let mut changes = self.current.subscribe();
        for _ in 0..ATTEMPTS_MAX {
            let mut session = current(&mut changes)?;
            if session.ended.load(Ordering::Acquire) {
                self.replace(&session).await?;
                session = current(&mut changes)?;
            }
            let answer = tokio::select! {
                biased;
                answer = send(Arc::clone(&session)) => answer,
                _ = changes.changed() => continue,
                () = self.replace_when_silent(&session) => continue,
            };
            match answer {
                Ok(answer) => {
                    session.answers.fetch_add(1, Ordering::AcqRel);
                    return Ok(answer);
                }
                Err(error) => {
                    is_end_of_session(error)?;
                    session.ended.store(true, Ordering::Release);
                }
            }
        }
        Err(Unknown(UnknownCause::Evicted))
    }

    /// Only the first of those that find the session ended opens a new one.
    async fn replace(&self, ended: &Arc<Session>) -> Result<(), LedgerError> {
        let _turn = self.replacing.lock().await;
        if self.is_current(ended) {
            let fresh = self.endpoint.open().await.inspect_err(|error| {
                tracing::warn!(%error, "cannot replace the TigerBeetle session");
            });
            self.publish(ended, fresh.map_err(|_| Unknown(UnknownCause::Evicted))?);
            tracing::warn!("the TigerBeetle session was ended by the cluster and has been replaced");
        }
        Ok(())
    }

    /// Returns when `session` has been replaced because another one is answered and it is not.
    async fn replace_when_silent(&self, session: &Arc<Session>) {
        loop {
            let answers = session.answers.load(Ordering::Acquire);
            pause(self.deadline).await;
            let _turn = self.replacing.lock().await;
            if !self.is_current(session) {
                return;
            }
            if session.answers.load(Ordering::Acquire) != answers {
                continue;
            }
            let Ok(fresh) = self.endpoint.open().await else { continue };
            let probe = timeout(PROBE_MAX, fresh.client().lookup_accounts(vec![PROBE])).await;
            if matches!(probe, Ok(Ok(_))) {
                self.publish(session, fresh);
                tracing::warn!("the TigerBeetle session was silent while a fresh one was not, and has been replaced");
                return;
            }
        }
    }

    fn is_current(&self, session: &Arc<Session>) -> bool {
        self.current.borrow().as_ref().is_some_and(|current| Arc::ptr_eq(current, session))
    }

    /// Nothing is put in the place of a session that is not current any more, or of none.
    fn publish(&self, old: &Arc<Session>, fresh: Session) {
        let mut fresh = Some(Arc::new(fresh));
        self.current.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old));
            if same {
                std::mem::swap(current, &mut fresh);
            }
            same
        });
    }

    /// Lets no new request in, waits a moment for those in flight, then ends the session; also when nothing answers.
    pub(crate) async fn close(&self) {
        let drained = timeout(DRAIN_MAX, self.permits.acquire_many(self.in_flight_max)).await;
        let Some(session) = self.current.send_replace(None) else { return };
        if drained.is_err() {
            tracing::warn!("closing the TigerBeetle session with requests in flight");
        }
        // Tasks that still hold the session let go of it when they see the change; whoever is last stops the client.
        if let Some(stopped) = Arc::into_inner(session).and_then(Session::stop)
            && timeout(STOP_MAX, stopped).await.is_err()
        {
            tracing::warn!("the TigerBeetle client does not stop: left it");
        }
    }
}

fn current(changes: &mut watch::Receiver<Option<Arc<Session>>>) -> Result<Arc<Session>, LedgerError> {
    changes.borrow_and_update().clone().ok_or(Unknown(UnknownCause::Closed))
}

/// An account that cannot exist: the number is no id of ours.
const PROBE: u128 = 1;

/// Ok if a fresh session may do better; the rest are requests that we should not have made.
fn is_end_of_session(error: SendError) -> Result<(), LedgerError> {
    use SendErrorKind as K;
    match error.kind() {
        K::ClientEvicted | K::ClientReleaseTooLow | K::ClientReleaseTooHigh | K::ClientShutdown => Ok(()),
        K::TooMuchData => Err(Contradiction("too_much_data")),
        K::InvalidOperation => Err(Contradiction("invalid_operation")),
        K::InvalidDataSize => Err(Contradiction("invalid_data_size")),
        _ => Err(Contradiction("unlisted_packet_status")),
    }
}

#[expect(clippy::disallowed_methods, reason = "a request outlives its caller: the client cannot be told to forget it")]
fn detach<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

async fn pause(duration: Duration) {
    timeout(duration, pending::<()>()).await.ok();
}

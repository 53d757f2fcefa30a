//! Whether the body of a request was read to its end. What is left of a body must never be taken for the next request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::{body::Bytes, http::Request};
use hyper::body::{Body, Frame, Incoming, SizeHint};

pub(super) struct Watched {
    body: Incoming,
    read: Read,
}

#[derive(Clone, Default)]
pub(super) struct Read(Arc<AtomicBool>);

impl Watched {
    pub(super) fn watch(request: Request<Incoming>) -> (Request<Self>, Read) {
        let read = Read(Arc::new(AtomicBool::new(request.body().is_end_stream())));
        let watched = request.map(|body| Self { body, read: read.clone() });
        (watched, read)
    }
}

impl Read {
    pub(super) fn to_the_end(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.read.0.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Raw clients: the test decides what they send, frame by frame.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The gRPC status, if it is a gRPC answer.
    pub(crate) fn grpc(&self) -> Option<&str> {
        self.headers.get("grpc-status").map(String::as_str)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A gRPC message: flag, length, content.
pub(crate) fn message(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// A body of these frames, and then its end.
pub(crate) fn frames<I>(frames: I) -> Body
where
    I: IntoIterator<Item = Vec<u8>>,
    I::IntoIter: Send + 'static,
{
    streamed(stream::iter(frames.into_iter().map(Bytes::from)))
}

/// A body of these bytes, and no end.
pub(crate) fn unfinished(bytes: Vec<u8>) -> Body {
    streamed(stream::iter([Bytes::from(bytes)]).chain(stream::pending()))
}

pub(crate) fn streamed(bytes: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(bytes.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync()
}

/// A connection of HTTP/2.
#[derive(Clone)]
pub(crate) struct Http2(hyper::client::conn::http2::SendRequest<Body>);

impl Http2 {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket).await
    }

    pub(crate) async fn over(
        socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Answer> {
        self.0.ready().await?;
        answer(self.0.send_request(request).await?).await
    }

    /// True where the connection is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// An Export with these frames on a connection of its own.
pub(crate) async fn export(to: SocketAddr, headers: &[(&str, &str)], body: Body) -> Answer {
    Http2::connect(to)
        .await
        .send(export_request(headers, body))
        .await
        .unwrap()
}

pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

pub(crate) fn export_request(headers: &[(&str, &str)], body: Body) -> Request<Body> {
    grpc_request(EXPORT, headers, body)
}

pub(crate) fn grpc_request(path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::post(format!("http://localhost{path}")).body(body).unwrap();
    let usual = [("content-type", "application/grpc"), ("te", "trailers")];
    set(request.headers_mut(), usual.iter().chain(headers));
    request
}

fn set<'h>(to: &mut HeaderMap, headers: impl Iterator<Item = &'h (&'h str, &'h str)>) {
    for (name, value) in headers {
        to.insert(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
}

/// A connection of HTTP/1.1.
pub(crate) struct Http1(hyper::client::conn::http1::SendRequest<Body>);

impl Http1 {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        self.0.ready().await.unwrap();
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        set(request.headers_mut(), [("host", "localhost")].iter().chain(headers));
        answer(self.0.send_request(request).await.unwrap()).await.unwrap()
    }

    /// `POST /v1/logs` with a body whose length is announced.
    pub(crate) async fn post(&mut self, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let len = body.len().to_string();
        let told: Vec<(&str, &str)> = headers.iter().copied().chain([("content-length", &*len)]).collect();
        self.send("POST", "/v1/logs", &told, frames([body])).await
    }
}

/// A request of HTTP/1.1 on a connection of its own.
pub(crate) async fn http1(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
    Http1::connect(to).await.send(method, path, headers, body).await
}

/// `POST /v1/logs` on a connection of its own.
pub(crate) async fn post(to: SocketAddr, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    Http1::connect(to).await.post(headers, body).await
}

async fn answer(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let headers = parts.headers.iter().chain(&trailers);
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers,
        body: collected.to_bytes(),
    })
}

//! A file as the body of an upload, piece by piece.
//!
//! Its length is known, so it is sent with `Content-Length` and without chunks. It reports its progress: an upload that
//! makes none is detected long before the whole of it would time out.

use std::{
    fs::File,
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::watch,
    time::{sleep, timeout},
};

use crate::runtime::failpoint::fail_point;

/// Bytes that are read at a time, and all that an upload holds in memory (times the two or three buffers that a piece
/// passes through).
const PIECE: u64 = 64 * 1024;

/// Returns a body of the file's next `length` bytes, and its progress.
pub fn stream(file: File, length: u64) -> (ByteStream, Progress) {
    let (sent, progress) = watch::channel(0);
    let body = FileBody { file: tokio::fs::File::from_std(file), left: length, buffer: Vec::new(), sent };
    (ByteStream::new(SdkBody::from_body_1_x(body)), Progress { sent: progress, length })
}

/// The progress of a body.
pub struct Progress {
    sent: watch::Receiver<u64>,
    length: u64,
}

impl Progress {
    /// Returns when the store has neither taken a piece nor answered for `limit`. The time begins with the first piece,
    /// as connecting and credentials have timeouts of their own.
    pub async fn stalled(mut self, limit: Duration) {
        let mut more = self.sent.changed().await;
        while more.is_ok() {
            match timeout(limit, self.sent.changed()).await {
                Ok(next) => more = next,
                Err(_) => return,
            }
        }
        if *self.sent.borrow() < self.length {
            // The client has given up, and is about to return its error.
            return pending().await;
        }
        fail_point("put_sent");
        sleep(limit).await;
    }
}

struct FileBody {
    file: tokio::fs::File,
    left: u64,
    buffer: Vec<u8>,
    /// Bytes so far. Dropped when the client drops the body.
    sent: watch::Sender<u64>,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        if this.buffer.is_empty() {
            this.buffer = vec![0; this.left.min(PIECE) as usize];
        }
        let mut piece = ReadBuf::new(&mut this.buffer);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        if read == 0 {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        let mut piece = std::mem::take(&mut this.buffer);
        piece.truncate(read);
        this.left -= read as u64;
        this.sent.send_modify(|sent| *sent += read as u64);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_and_its_length_is_known() {
        let content: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let (body, progress) = stream(file(&content), 200_000);
        assert_eq!(body.size_hint(), (200_000, Some(200_000)));
        assert_eq!(body.collect().await.unwrap().into_bytes(), content);
        assert_eq!(*progress.sent.borrow(), 200_000);
        progress.stalled(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_file_that_is_truncated_meanwhile_is_an_error() {
        let (body, _) = stream(file(b"1234"), 5);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn an_upload_is_stalled_when_the_store_does_not_take_the_next_piece() {
        const LIMIT: Duration = Duration::from_millis(400);
        let (body, progress) = stream(file(&vec![0; 400_000]), 400_000);
        let mut body = Box::pin(body.into_inner());
        let stalled = tokio::spawn(progress.stalled(LIMIT));
        sleep(LIMIT * 2).await;
        assert!(!stalled.is_finished(), "no piece was taken yet");
        for _ in 0..4 {
            let piece = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            assert_eq!(piece.unwrap().unwrap().into_data().unwrap().len() as u64, PIECE);
            sleep(LIMIT / 3).await;
            assert!(!stalled.is_finished(), "it makes progress");
        }
        timeout(LIMIT * 2, stalled).await.unwrap().unwrap();
    }
}

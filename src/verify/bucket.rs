//! An S3 bucket as a [`Store`], read with the client of deliveries.

use std::{
    error::Error,
    io::{self, Read},
};

use aws_sdk_s3::{
    Client,
    config::{http::HttpResponse, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectOutput,
};
use bytes::{Buf, Bytes};
use tokio::runtime::Runtime;

use super::store::{Listing, Store, StoreError};
use crate::{
    config,
    deliver::s3::{classify::classify, client},
};

/// Most times that reading an object is resumed.
const RESUMES: u32 = 4;

/// A bucket, or the part of it below a prefix.
pub struct Bucket {
    client: Client,
    runtime: Runtime,
    name: String,
    prefix: String,
}

impl Bucket {
    /// Sends nothing: errors appear at the first listing.
    ///
    /// # Errors
    /// When the system provides no sockets or threads.
    pub fn new(config: &config::S3) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(client::client(config));
        // The client has no retries, as delivery has a layer of its own.
        let retrying = client.config().to_builder().retry_config(RetryConfig::standard().with_max_attempts(5));
        let prefix = match config.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self { client: Client::from_conf(retrying.build()), runtime, name: config.bucket.clone(), prefix })
    }

    fn error<E>(&self, key: &str, error: SdkError<E, HttpResponse>) -> StoreError
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let error = classify(error);
        let place = format!("s3://{}/{}{key}", self.name, self.prefix);
        StoreError { place, reason: error.chain(), source: Box::new(error) }
    }

    fn get(&self, key: &str, from: u64, version: Option<&str>) -> Result<GetObjectOutput, StoreError> {
        let mut get = self.client.get_object().bucket(&self.name).key(format!("{}{key}", self.prefix));
        if from > 0 {
            get = get.range(format!("bytes={from}-")).set_if_match(version.map(str::to_owned));
        }
        self.runtime.block_on(get.send()).map_err(|error| self.error(key, error))
    }
}

impl Store for Bucket {
    fn list(&self, folder: &str) -> Result<Listing, StoreError> {
        let prefix = match folder {
            "" => self.prefix.clone(),
            folder => format!("{}{folder}/", self.prefix),
        };
        let mut pages =
            self.client.list_objects_v2().bucket(&self.name).prefix(&prefix).delimiter("/").into_paginator().send();
        let mut listing = Listing::default();
        while let Some(page) = self.runtime.block_on(pages.next()) {
            let page = page.map_err(|error| self.error(folder, error))?;
            for folder in page.common_prefixes().iter().filter_map(|common| common.prefix()) {
                if let Some(name) = folder.strip_prefix(&prefix).and_then(|name| name.strip_suffix('/')) {
                    listing.folders.push(name.to_owned());
                }
            }
            for object in page.contents() {
                // Some consoles create an object with the name of an empty folder.
                if let Some(name) = object.key().and_then(|key| key.strip_prefix(&prefix))
                    && !name.is_empty()
                {
                    listing.files.push((name.to_owned(), object.size().unwrap_or_default().max(0) as u64));
                }
            }
        }
        listing.folders.sort_unstable();
        listing.files.sort_unstable();
        Ok(listing)
    }

    fn open<'a>(&'a self, key: &str) -> Result<Box<dyn Read + 'a>, StoreError> {
        let output = self.get(key, 0, None)?;
        let version = output.e_tag().map(str::to_owned);
        Ok(Box::new(Body {
            bucket: self,
            key: key.into(),
            version,
            output,
            chunk: Bytes::new(),
            read: 0,
            resumes: RESUMES,
        }))
    }
}

/// The content of an object. If the connection breaks, reading resumes where it was over another one.
struct Body<'a> {
    bucket: &'a Bucket,
    key: String,
    version: Option<String>,
    output: GetObjectOutput,
    chunk: Bytes,
    read: u64,
    resumes: u32,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.bucket.runtime.block_on(self.output.body.try_next()) {
                Ok(Some(chunk)) => {
                    self.read += chunk.len() as u64;
                    self.chunk = chunk;
                }
                Ok(None) => return Ok(0),
                Err(error) if self.resumes == 0 => return Err(io::Error::other(error)),
                Err(_) => {
                    self.resumes -= 1;
                    self.output =
                        self.bucket.get(&self.key, self.read, self.version.as_deref()).map_err(io::Error::other)?;
                }
            }
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader, Write},
        net::TcpListener,
    };

    use super::*;

    /// A store that closes the connection in the middle of its first answer. Returns the `Range` of each request.
    fn hang_up_once(listener: &TcpListener) -> Vec<Option<String>> {
        let mut ranges = Vec::new();
        for answer in [
            "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\n0123",
            "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> = lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
            ranges.push(head.iter().find_map(|line| line.strip_prefix("range: ")).map(str::to_owned));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        ranges
    }

    #[test]
    fn reading_resumes_where_the_connection_broke() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        fs::write(&credentials, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = serde_json::json!({
            "bucket": "clicks",
            "region": "eu-west-1",
            "endpoint": format!("http://{}", listener.local_addr().unwrap()),
            "path_style": true,
            "credentials_file": credentials,
        });
        let store = std::thread::spawn(move || hang_up_once(&listener));
        let bucket = Bucket::new(&serde_json::from_value(config).unwrap()).unwrap();
        let mut text = String::new();
        bucket.open("key").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123456789");
        assert_eq!(store.join().unwrap(), [None, Some("bytes=4-".to_owned())]);
    }
}

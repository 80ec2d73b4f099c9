//! A bounded listing of a bucket.

use super::S3Sink;
use crate::deliver::error::SinkError;

/// Most keys of a listing: one page.
const PAGE: i32 = 1_000;

impl S3Sink {
    /// Keys that begin with `prefix`, relative to the feed's own prefix. One request.
    pub(super) async fn list_page(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        let client = self.client.load_full();
        let list = client.list_objects_v2().bucket(&self.config.bucket).prefix(self.key(prefix)).max_keys(PAGE);
        let list = list.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        let page = list.send().await.map_err(|error| self.classify(error))?;
        let own = self.key("");
        let keys = page.contents().iter().filter_map(|object| object.key()?.strip_prefix(&own));
        Ok(keys.map(str::to_owned).collect())
    }
}

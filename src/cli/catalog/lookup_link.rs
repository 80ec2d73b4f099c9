//! `clickedge catalog lookup`: a link of a snapshot.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Outcome, failed_with};
use crate::{
    catalog::build::open_snapshot,
    cli::output::{failed, print},
    config,
    runtime::Class,
};

/// Arguments of `catalog lookup`.
#[derive(Args, Debug)]
pub struct Lookup {
    /// Snapshot.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Host and slashtag, such as `go.brand.com/spring`.
    #[arg(value_name = "HOST/SLASHTAG")]
    pub link: String,
}

pub(super) fn run(lookup: &Lookup) -> Outcome {
    let Lookup { file, link } = lookup;
    let address = link.split_once("://").map_or(link.as_str(), |(_, address)| address);
    let Some((host, slashtag)) = address.split_once('/') else {
        return Err(failed(Class::Usage, &format!("{link:?} is no host and slashtag, such as go.brand.com/spring")));
    };
    let catalog = open_snapshot(file, &config::Catalog::default()).map_err(failed_with)?;
    let Some(found) = catalog.exact(host, slashtag) else {
        return Err(failed(Class::Data, &format!("the snapshot {} has no link {host}/{slashtag}", file.display())));
    };
    print(&format!("{}\n", found.to_json()))?;
    Ok(ExitCode::SUCCESS)
}

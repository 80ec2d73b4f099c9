//! `clickedge feed policy`: the policies that a feed into a bucket needs.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Outcome, Which};
use crate::{
    cli::output::{failed, json, print, print_error},
    config::Sink,
    deliver::policy::{PRINCIPAL, Policies, PolicyOptions},
    runtime::Class,
};

/// Arguments of `feed policy`.
#[derive(Args, Debug)]
pub struct Policy {
    #[command(flatten)]
    pub which: Which,
    /// ARN of the user or role with which the edge signs its requests. Without it the policies have a placeholder.
    #[arg(long, value_name = "ARN")]
    pub principal: Option<String>,
    /// Also grant what `clickedge feed verify` needs: listing the objects below the prefix.
    ///
    /// Without it there is no `s3:ListBucket` in the policy, and the edge does not warn of another edge of the same
    /// name. Deliveries need it with no value of `conditional_writes`.
    #[arg(long)]
    pub verify: bool,
    /// Print one policy alone.
    #[arg(long, value_name = "POLICY")]
    pub only: Option<Only>,
}

/// One of the policies.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Only {
    /// The policy of the bucket.
    Bucket,
    /// The statement for the policy of the KMS key.
    Kms,
    /// The trust policy of the role.
    Trust,
}

pub(super) fn run(args: &Policy) -> Outcome {
    let config = args.which.load()?;
    let feed = args.which.find(&config)?;
    let Sink::S3(s3) = &feed.sink else {
        return Err(failed(
            Class::Usage,
            &format!("the feed {:?} delivers into no bucket, so it needs no policy of one", feed.name),
        ));
    };
    if args.principal.as_ref().is_some_and(|arn| !is_arn(arn)) {
        return Err(failed(Class::Usage, &"--principal must be an ARN, such as arn:aws:iam::123456789012:user/edge"));
    }
    let options = PolicyOptions { principal: args.principal.as_deref(), verify: args.verify };
    let Policies { bucket, kms_key, trust } = Policies::new(s3, options);
    let absent = |what: &str| failed(Class::Usage, &format!("the feed {:?} {what}", feed.name));
    let value = match args.only {
        None => {
            let mut all = json!({ "bucketPolicy": bucket });
            for (name, policy) in [("kmsKeyPolicyStatement", kms_key), ("trustPolicy", trust)] {
                if let Some(policy) = policy {
                    all[name] = policy;
                }
            }
            all
        }
        Some(Only::Bucket) => bucket,
        Some(Only::Kms) => kms_key.ok_or_else(|| absent("requests no KMS key (`encryption`)"))?,
        Some(Only::Trust) => trust.ok_or_else(|| absent("assumes no role (`assume_role`)"))?,
    };
    print(&json(&value))?;
    if mentions_placeholder(&value) {
        print_error(&format!(
            "note: replace {PRINCIPAL} by the identity of the edge, or name it with --principal ARN"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn mentions_placeholder(value: &Value) -> bool {
    value.to_string().contains(PRINCIPAL)
}

fn is_arn(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    matches!(parts[..], ["arn", partition, service, _, _, resource]
        if ![partition, service, resource].contains(&"") && !text.chars().any(|c| c.is_whitespace() || c.is_control()))
}

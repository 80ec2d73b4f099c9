//! Writes the sections of a snapshot.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    ops::Range,
    sync::Arc,
};

use super::{DomainLine, HashKey, PLACE, bucket, buckets_for, header, header::Header};
use crate::catalog::{
    domain::Domains,
    interned::Interned,
    record::{Flags, Hashed, Profile, Record, State},
    sorter::Sorted,
    state_hash::StateHash,
};

/// What a snapshot is made of.
pub struct Contents {
    /// Records by domain and hash of the slashtag.
    pub sorted: Sorted,
    /// Links of each domain, or more.
    pub most_links: Vec<u64>,
    pub domains: Arc<Domains>,
    pub profiles: Vec<Profile>,
    pub texts: Interned,
    pub policies: Interned,
    /// Numbers of texts.
    pub workspaces: BTreeSet<u32>,
    pub key: HashKey,
    /// Whether links are reached by their place alone: without domains and buckets.
    pub is_part: bool,
}

/// Output that knows its place.
struct Counted<W> {
    output: W,
    place: u64,
}

impl<W: Write> Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.place += bytes.len() as u64;
        Ok(())
    }
}

impl Contents {
    /// Writes all sections, the first of them at `start` in the file. `duplicate` gets the line of each link whose
    /// domain and slashtag an earlier one has; that link is left out.
    ///
    /// # Errors
    /// Those of the output and of what is sorted.
    pub fn write(
        &mut self,
        output: impl Write,
        start: u64,
        mut duplicate: impl FnMut(u64, &Record<'_>),
    ) -> io::Result<Header> {
        let mut output = Counted { output, place: start };
        let mut header = Header { key: self.key, ..Header::default() };
        let most_links = if self.is_part { &[][..] } else { &self.most_links };
        let buckets: Vec<u64> = most_links.iter().map(|links| buckets_for(*links)).collect();
        let firsts = firsts(&buckets);
        let (mut places, mut limited) = (Vec::new(), Vec::new());
        let mut links_of = vec![0; buckets.len()];
        let mut hash = StateHash::default();
        // The keys that share domain and hash with the one before.
        let mut before: (u32, u64, Vec<Vec<u8>>) = (0, 0, Vec::new());
        let Self { sorted: links, domains, profiles, texts, policies, is_part, .. } = self;
        let is_part = *is_part;
        while let Some((sorted, line, bytes)) = links.next()? {
            let record = Record::read(bytes).ok_or_else(|| io::Error::other("a record was damaged while sorting"))?;
            if (before.0, before.1) != (sorted.domain, sorted.hash) {
                before = (sorted.domain, sorted.hash, Vec::new());
            }
            if before.2.iter().any(|key| key == record.key) {
                duplicate(line, &record);
                continue;
            }
            before.2.push(record.key.to_owned());
            let place = output.place - start;
            if !is_part {
                let domain = sorted.domain as usize;
                fill(&mut places, firsts[domain] + bucket(sorted.hash, buckets[domain]) + 1, place);
                links_of[domain] += 1;
            }
            if record.flags.has(Flags::IS_LIMITED) {
                limited.push(place);
            }
            header.links += 1;
            header.active += u64::from(record.flags.state() == State::Active);
            let profile = profiles[record.profile as usize];
            let hashed = Hashed {
                host: &domains.all[profile.domain as usize].host,
                record: &record,
                profile,
                creator: texts.text(profile.creator),
                tags: texts.text(profile.tags),
                scripts: texts.text(profile.scripts),
                workspace: texts.text(profile.workspace),
                policy: policies.text(record.policy),
            };
            hash.add(hashed.hash());
            output.write(bytes)?;
        }
        if !is_part {
            let all = output.place - start;
            fill(&mut places, firsts.last().copied().unwrap_or_default() + 1, all);
            for domain in self.domains.all.iter().filter_map(|domain| domain.hash()) {
                hash.add(domain);
            }
            header.domains = self.domains.all.len() as u64;
        }
        header.position.hash = hash;
        header.sections[header::RECORDS] = start..output.place;
        header.sections[header::BUCKETS] = section(&mut output, places.chunks_exact(PLACE))?;
        let profiles = self.profiles.iter().map(|profile| profile.to_bytes());
        header.sections[header::PROFILES] = section(&mut output, profiles)?;
        header.sections[header::TEXTS] = numbered(&mut output, &self.texts)?;
        header.sections[header::POLICIES] = numbered(&mut output, &self.policies)?;
        (header.texts, header.policies) = (self.texts.len() as u64, self.policies.len() as u64);
        let lines = self.domain_lines(&buckets, &links_of);
        header.sections[header::DOMAINS] = section(&mut output, lines)?;
        header.sections[header::LIMITED] = section(&mut output, limited.iter().map(|place| place.to_le_bytes()))?;
        let workspaces = self.workspaces.iter().map(|number| number.to_le_bytes());
        header.sections[header::WORKSPACES] = section(&mut output, workspaces)?;
        output.output.flush()?;
        Ok(header)
    }

    fn domain_lines(&self, buckets: &[u64], links: &[u64]) -> impl Iterator<Item = Vec<u8>> {
        let domains = if self.is_part { &[][..] } else { &self.domains.all };
        domains.iter().enumerate().map(|(number, domain)| {
            let line = DomainLine {
                host: domain.host.to_string(),
                id: domain.id(),
                line: domain.line.as_deref().map(str::to_owned),
                case: domain.case,
                path_depth: domain.path_depth,
                links: links.get(number).copied().unwrap_or_default(),
                buckets: buckets.get(number).copied().unwrap_or_default(),
            };
            let mut line = serde_json::to_vec(&line).unwrap_or_default();
            line.push(b'\n');
            line
        })
    }
}

/// The first bucket of each domain, and the number of all.
fn firsts(buckets: &[u64]) -> Vec<u64> {
    let firsts = buckets.iter().scan(0, |first, buckets| {
        *first += buckets;
        Some(*first)
    });
    std::iter::once(0).chain(firsts).collect()
}

/// Notes where all buckets below this number begin that have no place yet.
fn fill(places: &mut Vec<u8>, buckets: u64, place: u64) {
    while (places.len() / PLACE) < buckets as usize {
        places.extend_from_slice(&place.to_le_bytes()[..PLACE]);
    }
}

fn section<W: Write>(
    output: &mut Counted<W>,
    parts: impl Iterator<Item = impl AsRef<[u8]>>,
) -> io::Result<Range<u64>> {
    let start = output.place;
    for part in parts {
        output.write(part.as_ref())?;
    }
    Ok(start..output.place)
}

fn numbered<W: Write>(output: &mut Counted<W>, texts: &Interned) -> io::Result<Range<u64>> {
    let ends = section(output, texts.ends().iter().map(|end| end.to_le_bytes()))?;
    output.write(texts.texts().as_bytes())?;
    Ok(ends.start..output.place)
}

//! The further work of a start for notebooks: records their cells, keeps copies of those that were
//! only run, and writes the news.

use rustix::io::Errno;

use crate::settings::UpdateNotebooks;
use crate::volume::defaults::apply::Work;
use crate::volume::defaults::installed_cells::in_image;
use crate::volume::defaults::manifest::{Content, Entry, KeptCopy, MAX_COPIES};
use crate::volume::defaults::news;
use crate::volume::defaults::news::Kind;
use crate::volume::defaults::plan::Decision;
use crate::volume::defaults::source::Offer;
use crate::volume::defaults::survey::{InVolume, Row};
use crate::volume::shown;

impl Work<'_> {
    /// Returns the kind of news that the decision is; `None` if it is none.
    pub fn news_of(&self, row: &Row, decision: Decision) -> Option<Kind> {
        // Most of them, and a lookup takes longer than everything else about them.
        if decision == Decision::Current {
            return None;
        }
        let none = Entry::default();
        let entry = self.manifest.entries.get(&row.path).unwrap_or(&none);
        news::kind(row, entry, decision, self.policy).filter(|_| self.has_news)
    }

    /// Adds what a start brought in that was killed before it told the news: the paths, and whether
    /// another version was there before.
    pub fn add_news_of_killed(&mut self, in_place: &[(Vec<u8>, bool)]) {
        let tells = self.has_news && self.policy.update != UpdateNotebooks::Never;
        for (path, was_installed) in in_place.iter().filter(|_| tells) {
            let entry = self.manifest.entries.get(path);
            let kind = match was_installed {
                false => Kind::New,
                true if entry.is_some_and(|entry| !entry.kept.is_empty()) => Kind::UpdatedRun,
                true => Kind::Updated,
            };
            self.news.add(kind, path);
        }
    }

    /// Records the newer versions of changed files that the person is told about, so that they are
    /// news once.
    pub fn record_announced(&mut self) {
        for row in std::mem::take(&mut self.newer) {
            if let Some(entry) = self.manifest.entries.get_mut(&row.path)
                && let Some(Content::File(image)) = row.image
            {
                entry.announced = Some(image);
            }
        }
    }

    /// Writes the file with the news.
    pub fn write_news(&mut self) {
        self.summary.news = self.news.line();
        let name = news::NAME.to_bytes();
        let Some(ai_lab) = self.ai_lab.as_ref().filter(|_| self.summary.news.is_some()) else {
            return;
        };
        if self.writer.offers.contains_key(name) {
            return;
        }
        self.touched.insert(Vec::new());
        let text = self.news.text(self.version);
        let (top, mode) = (self.writer.volume.top(), self.writer.mode);
        // Without the file, the log still says it.
        if news::write(top, (&text, mode), ai_lab, &mut self.aside).is_ok()
            && let Some(line) = &mut self.summary.news
        {
            line.push_str(&format!("\n\"{}\" there says more.", news::NEWS));
        }
    }

    /// Makes the directory for the copy of a notebook that was only run, and records the copy.
    pub fn prepare_copy(&mut self, row: &Row) -> Result<(), Errno> {
        let path = &row.path;
        let entry = self.manifest.entries.get_mut(path).ok_or(Errno::NOENT)?;
        let (Some(kept), Some(Content::File(installed)), InVolume::Run(digest)) =
            (&mut self.kept, entry.installed, row.volume)
        else {
            return Err(Errno::NOENT);
        };
        kept.check_mount(self.writer.volume.parent(path, false)?.0)?;
        kept.forget_changed(path, entry, self.stop)?;
        let version = self
            .cells
            .get(path, installed)
            .and_then(|known| known.version);
        let directory = kept.directory_for(path, version.as_deref(), installed)?;
        entry.kept.push(KeptCopy {
            directory,
            digest,
            stamp: None,
        });
        Ok(())
    }

    /// Counts a notebook that stays because no copy of it can be kept.
    pub fn count_not_kept(&mut self, path: &[u8], error: Errno) {
        self.summary.kept += 1;
        self.not_kept.add(error, || shown(path));
    }

    /// Counts a notebook that was updated after a person ran it, and drops its oldest copies.
    pub fn count_run(&mut self, path: &[u8]) {
        self.summary.updated += 1;
        self.summary.run += 1;
        let entry = self.manifest.entries.get_mut(path);
        let (Some(kept), Some(entry)) = (&mut self.kept, entry) else {
            return;
        };
        kept.record_stamp(path, entry);
        for version in kept.drop_oldest(path, entry, self.stop) {
            let what = format!(
                "had more than {MAX_COPIES} copies of yours in .ai-lab/kept: the one of {version} \
                 was deleted"
            );
            self.report_line(path, &what);
        }
    }

    /// Records the cells of notebooks that were installed without them.
    pub fn record_cells(&mut self) -> Result<(), Errno> {
        for row in std::mem::take(&mut self.without_cells) {
            let entry = self.manifest.entries.get(&row.path);
            let (Some(Content::File(digest)), false) = (row.image, (self.stop)()) else {
                continue;
            };
            let is_installed = entry.is_some_and(|entry| entry.installed == row.image);
            let size = self.writer.offers.get(&row.path).map_or(0, Offer::size);
            if is_installed
                && self.cells.get(&row.path, digest).is_none()
                && self.writer.may_parse(size)
            {
                let cells = in_image(&mut self.writer.source, &row.path, digest);
                if let Some(cells) = cells {
                    self.cells.insert(&row.path, digest, self.version, cells);
                }
            }
        }
        self.cells.write(&self.manifest)
    }
}

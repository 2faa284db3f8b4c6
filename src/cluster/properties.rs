//! Whose data directory this is: `meta.properties`, in Kafka's format.
//!
//! Made at the first start and never changed. Where it is missing beside data the broker refuses
//! to start: another cluster id would be another cluster to every client.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::model::{NodeId, Uuid};

use super::files::replace;

const FILE: &str = "meta.properties";

/// Who this data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Made at the first start.
    pub cluster_id: String,
    /// As configured at the first start.
    pub node_id: NodeId,
    /// Identity of the directory.
    pub directory_id: Uuid,
}

impl Properties {
    /// Those of `data_dir`, made now if nobody uses it yet.
    pub(super) fn open(data_dir: &Path, node_id: NodeId, is_in_use: bool) -> Result<Self, String> {
        let path = data_dir.join(FILE);
        let shown = path.display();
        let restore = || {
            format!(
                "Restore it from a backup, or write it again, a line each: version=1, \
                 cluster.id=(as clients know it), node.id={node_id} and directory.id=(as in the \
                 partition records that kafka-dump-log --cluster-metadata-decoder shows of the \
                 log below meta/). Nothing was changed"
            )
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(format!("cannot read {shown}: {error}"));
            }
            Err(_) if is_in_use => {
                return Err(format!(
                    "{shown} is missing, but {} is in use: the cluster would get another id, \
                     which clients take for another cluster. {}",
                    data_dir.display(),
                    restore()
                ));
            }
            Err(_) => {
                let (cluster_id, directory_id) = (Uuid::random().to_string(), Uuid::random());
                let properties = Self { cluster_id, node_id, directory_id };
                replace(&path, properties.text().as_bytes())?;
                return Ok(properties);
            }
        };
        let properties = Self::parse(&text)
            .map_err(|why| format!("{shown} cannot be used: {why}. {}", restore()))?;
        if properties.node_id != node_id {
            return Err(format!(
                "{} belongs to node.id {}, this broker is configured as {node_id}: use that id or \
                 another data directory",
                data_dir.display(),
                properties.node_id
            ));
        }
        Ok(properties)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let get = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut values = lines.filter(|(k, _)| k.trim() == key).map(|(_, v)| v.trim());
            values.next().ok_or_else(|| format!("{key} is missing"))
        };
        let version = get("version")?;
        if version != "1" {
            return Err(format!("it has version {version}, this build reads version 1"));
        }
        let (node_id, directory_id) = (get("node.id")?, get("directory.id")?);
        Ok(Self {
            cluster_id: get("cluster.id")?.to_owned(),
            node_id: node_id.parse().map_err(|e| format!("node.id={node_id}: {e}"))?,
            directory_id: directory_id
                .parse()
                .map_err(|e| format!("directory.id={directory_id}: {e}"))?,
        })
    }

    fn text(&self) -> String {
        format!(
            "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
            self.cluster_id, self.node_id, self.directory_id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_made_once_and_never_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let open = |node_id, is_in_use| Properties::open(dir.path(), node_id, is_in_use);
        let path = dir.path().join(FILE);
        assert!(open(1, true).unwrap_err().contains("cluster.id"));
        assert!(!path.exists(), "nothing was made in its place");
        let made = open(1, false).unwrap();
        for is_in_use in [false, true] {
            assert_eq!(open(1, is_in_use).as_ref(), Ok(&made));
        }
        assert!(open(2, true).unwrap_err().contains("node.id 1"));
        let whole = fs::read_to_string(&path).unwrap();
        for (from, to, why) in [
            (whole.as_str(), "", "version is missing"),
            ("version=1", "version=0", "version 0"),
            ("node.id=1", "node.id=one", "node.id=one"),
            ("directory.id=", "directory.id=?", "directory.id=?"),
        ] {
            let text = whole.replace(from, to);
            fs::write(&path, &text).unwrap();
            let said = open(1, true).unwrap_err();
            assert!(said.contains(why) && said.contains("Restore it"), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "nothing was changed");
        }
    }
}

//! Finds and loads Fashion-MNIST, or any data set in MNIST's four files.
//!
//! A place that a person named is used or is an error; only `auto` looks further, and it says where
//! it looked. What Fashion-MNIST is, its SHA-256 decides, not the folder's name.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use self::error::{DataError, Tried};
pub use self::folder::{Dataset, FileSha256, LabeledImages, Source, SourceKind};

use self::error::list;
use self::folder::{Wanted, assemble, find_file, idx_file, load_folder, raw_file};
use super::download::{self, DownloadError};
use super::image_folder::{self, ImageFolderError};

mod error;
mod folder;

pub const CLASS_NAMES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// MNIST's four file names, in the order used throughout, with the SHA-256 of Fashion-MNIST's
/// decompressed content.
pub const FILES: [(&str, &str); 4] = [
    (
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    (
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    (
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    (
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
];

/// 500 training and 100 test images of each class; examples/make_sample.rs makes it.
const SAMPLE: [&[u8]; 4] = [
    include_bytes!("../../assets/sample/train-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/sample/train-labels-idx1-ubyte.gz"),
    include_bytes!("../../assets/sample/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/sample/t10k-labels-idx1-ubyte.gz"),
];

const KEYWORDS: [&str; 3] = ["auto", "fashion-mnist", "sample"];
const SYSTEM_DIR: &str = "/usr/share/datasets/fashion-mnist";
const HOW_TO_GET_IT: &str = "hint: `apt install dataset-fashion-mnist`, or name its folder \
                             with --data DIR or WEFT_DATA=DIR";

/// What to load and where to look for it.
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    /// `auto`, `fashion-mnist`, `sample` or the path of a folder.
    pub request: &'a str,
    /// `--data` or `WEFT_DATA`: for `auto` and `fashion-mnist`, the only place looked in.
    pub data_dir: Option<&'a Path>,
    pub cache_dir: PathBuf,
    /// weft's own cache folder, for converted images of folders that cannot be written.
    pub cache_root: PathBuf,
    pub system_dir: PathBuf,
    pub mirrors: Vec<String>,
    pub download: bool,
}

impl<'a> Lookup<'a> {
    /// The usual places, as `WEFT_CACHE`, `WEFT_MIRRORS` (commas between) and `WEFT_OFFLINE`
    /// change them.
    pub fn standard(request: &'a str, data_dir: Option<&'a Path>) -> Self {
        let cache = cache_root();
        let mirrors = match set("WEFT_MIRRORS") {
            Some(urls) => urls
                .to_string_lossy()
                .split(',')
                .map(|url| url.trim().to_owned())
                .filter(|url| !url.is_empty())
                .collect(),
            None => download::MIRRORS.map(str::to_owned).to_vec(),
        };
        Self {
            request,
            data_dir,
            cache_dir: cache.join("fashion-mnist"),
            cache_root: cache,
            system_dir: SYSTEM_DIR.into(),
            mirrors,
            download: set("WEFT_OFFLINE").is_none_or(|value| value == "0"),
        }
    }
}

/// A variable of the environment that is set and not empty.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// weft's own cache folder.
pub fn cache_root() -> PathBuf {
    let cache = set("WEFT_CACHE").map(PathBuf::from);
    // Without a home folder the working folder is the one place surely the user's own.
    cache
        .or_else(|| Some(dirs::cache_dir()?.join("weft")))
        .unwrap_or_else(|| ".weft-cache".into())
}

impl Lookup<'_> {
    /// The folder that was named, if it holds images and no IDX files.
    pub(super) fn image_folder(&self) -> Result<Option<&Path>, ImageFolderError> {
        let folder = match (self.request, self.data_dir) {
            ("auto", Some(folder)) => folder,
            (request, _) if KEYWORDS.contains(&request) => return Ok(None),
            (folder, _) => Path::new(folder),
        };
        if !folder.is_dir() {
            return Ok(None);
        }
        match (idx_file(folder), image_folder::sign_of_images(folder)?) {
            (_, None) => Ok(None),
            (None, Some(_)) => Ok(Some(folder)),
            (Some(idx), Some(class)) => Err(ImageFolderError::Both {
                folder: folder.to_owned(),
                idx,
                class,
            }),
        }
    }

    /// `--data` says nothing new to a request that names its data itself; silence would hide that.
    pub(super) fn warning_if_unused(&self) -> Option<String> {
        let unused = |folder: &&Path| *folder != Path::new(self.request);
        let folder = self.data_dir.filter(unused)?;
        (self.request != "auto").then(|| {
            format!(
                "{} is not used, since data.source is {:?}\nhint: set data.source to \"auto\"",
                folder.display(),
                self.request
            )
        })
    }
}

/// Loads what `lookup` asks for, checked, so that a trainer can rely on every count and label.
pub fn load(lookup: &Lookup, progress: &mut dyn download::Progress) -> Result<Dataset, DataError> {
    match (lookup.request, lookup.data_dir) {
        ("sample", _) => Ok(warn_if_unused(load_sample()?, lookup)),
        ("auto", Some(folder)) => load_folder(folder, Wanted::AnyDataset),
        ("fashion-mnist", Some(folder)) => load_folder(folder, Wanted::FashionMnist),
        ("fashion-mnist", None) => {
            search(lookup, progress)?.map_err(|tried| DataError::NotFound { tried })
        }
        ("auto", None) => search(lookup, progress)?.or_else(|tried| {
            let mut dataset = load_sample()?;
            dataset.source.warning = Some(sample_warning(&tried));
            Ok(dataset)
        }),
        (folder, _) => Ok(warn_if_unused(
            load_folder(Path::new(folder), Wanted::AnyDataset)?,
            lookup,
        )),
    }
}

fn warn_if_unused(mut dataset: Dataset, lookup: &Lookup) -> Dataset {
    dataset.source.warning = lookup.warning_if_unused();
    dataset
}

fn sample_warning(tried: &[Tried]) -> String {
    format!(
        "Fashion-MNIST was not found; using the embedded sample of 5,000 + 1,000 images. \
         Looked in{}\n{HOW_TO_GET_IT}",
        list(tried)
    )
}

/// The cache, the system's folder, then a download. `Ok(Err(_))` when none has it; damage is an
/// error at once.
fn search(
    lookup: &Lookup,
    progress: &mut dyn download::Progress,
) -> Result<Result<Dataset, Vec<Tried>>, DataError> {
    let mut tried = Vec::new();
    for folder in [&lookup.cache_dir, &lookup.system_dir] {
        let reason = match load_folder(folder, Wanted::FashionMnist) {
            Ok(dataset) => return Ok(Ok(dataset)),
            Err(DataError::NoFolder { .. }) => "no such folder".to_owned(),
            Err(DataError::Missing { files, .. }) => format!("missing {}", files.join(", ")),
            Err(damage) => return Err(damage),
        };
        tried.push(Tried {
            place: folder.display().to_string(),
            reason,
        });
    }
    let reason = if !lookup.download {
        "switched off (WEFT_OFFLINE)".to_owned()
    } else {
        match download_missing(lookup, progress) {
            Ok(()) => return load_folder(&lookup.cache_dir, Wanted::FashionMnist).map(Ok),
            Err(error) => error.to_string(),
        }
    };
    tried.push(Tried {
        place: "download".to_owned(),
        reason,
    });
    Ok(Err(tried))
}

fn download_missing(
    lookup: &Lookup,
    progress: &mut dyn download::Progress,
) -> Result<(), DownloadError> {
    for (name, sha256) in FILES {
        if find_file(&lookup.cache_dir, name).is_none() {
            let file = format!("{name}.gz");
            let options = download::Options::default();
            download::fetch(
                &file,
                sha256,
                &lookup.mirrors,
                &lookup.cache_dir,
                &options,
                progress,
            )?;
        }
    }
    Ok(())
}

fn load_sample() -> Result<Dataset, DataError> {
    let file = |index: usize| {
        raw_file(
            format!("embedded sample/{}.gz", FILES[index].0).into(),
            SAMPLE[index],
        )
    };
    let files = [file(0)?, file(1)?, file(2)?, file(3)?];
    let names = CLASS_NAMES.map(str::to_owned).to_vec();
    assemble(
        files,
        Some(names),
        SourceKind::Sample,
        "embedded sample".to_owned(),
    )
}

//! Parts, for which v0.3 has fewer words: text, a file, or an object.
//!
//! # Pitfalls
//! `file_with_bytes` is typed as bytes, but the SDKs for Python, Go and Java put the base64 text of
//! JSON into it and expect it there (Python's fails on anything that is no UTF-8); the one for
//! JavaScript puts the bytes themselves. So base64 is written, and what is not base64 is read as it
//! is. A raw file that happens to be valid base64 is misread; there is no telling them apart.

use crate::dialect::v0_3::read::{WRAPPED, unwrapped};
use crate::pb::known::{self, Struct};
use crate::pb::{Under, Wire, Wrong, given, said};
use crate::{self as model, Metadata};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Part {
    #[prost(oneof = "Content", tags = "1, 2, 3")]
    content: Option<Content>,
    /// Came to v0.3 after its first release, like the name of a file.
    #[prost(message, optional, tag = "4")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(message, tag = "2")]
    File(File),
    #[prost(message, tag = "3")]
    Data(Data),
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(oneof = "Bytes", tags = "1, 2")]
    content: Option<Bytes>,
    #[prost(string, tag = "3")]
    mime_type: String,
    #[prost(string, tag = "4")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Bytes {
    #[prost(string, tag = "1")]
    There(String),
    #[prost(bytes = "vec", tag = "2")]
    Here(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Data {
    #[prost(message, optional, tag = "1")]
    data: Option<Struct>,
}

impl Wire for Part {
    type Model = model::Part;

    fn of(model: &Self::Model) -> Self {
        let mut metadata = known::members(model.metadata.as_ref());
        let content = match &model.content {
            model::PartContent::Text(text) => Content::Text(text.clone()),
            model::PartContent::Raw(bytes) => {
                File::of(model, Bytes::Here(STANDARD.encode(bytes).into_bytes()))
            }
            model::PartContent::Url(url) => File::of(model, Bytes::There(url.clone())),
            model::PartContent::Data(data) => {
                let members = Metadata::try_from(data.clone()).unwrap_or_else(|_| {
                    let mut marked = model.metadata.clone().unwrap_or_default();
                    marked.insert(WRAPPED, true);
                    metadata = Some(Struct::of(&marked));
                    Metadata::wrapping(data)
                });
                Content::Data(Data { data: Some(Struct::of(&members)) })
            }
        };
        Self { content: Some(content), metadata }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        const NONE: &str = "a part needs one of text, file or data";
        let metadata = known::metadata(self.metadata)?;
        let part = match self.content.ok_or_else(|| Wrong::new("", NONE))? {
            Content::Text(text) => model::Part::text(text),
            Content::File(file) => file.read().under("file")?,
            Content::Data(Data { data }) => {
                let data = data.unwrap_or_default().read().under("data.data")?;
                return Ok(unwrapped(data.into(), metadata));
            }
        };
        Ok(model::Part { metadata, ..part })
    }
}

impl File {
    fn of(part: &model::Part, content: Bytes) -> Content {
        Content::File(Self {
            content: Some(content),
            mime_type: said(part.media_type.as_ref()),
            name: said(part.filename.as_ref()),
        })
    }

    fn read(self) -> Result<model::Part, Wrong> {
        const NONE: &str = "a file needs one of fileWithUri or fileWithBytes";
        let content = match self.content.ok_or_else(|| Wrong::new("", NONE))? {
            Bytes::There(url) => model::PartContent::Url(url),
            Bytes::Here(bytes) => model::PartContent::Raw(STANDARD.decode(&bytes).unwrap_or(bytes)),
        };
        Ok(model::Part {
            content,
            metadata: None,
            filename: given(self.name),
            media_type: given(self.mime_type),
        })
    }
}

//! Parts, the one message that the two packages write quite differently: v0.3 has text, a file, or
//! an object.
//!
//! # Pitfalls
//! `file_with_bytes` is typed as bytes, but the SDKs for Python, Go and Java put the base64 text of
//! JSON into it and expect it there (Python's fails on anything that is no UTF-8); the one for
//! JavaScript puts the bytes themselves. So base64 is written, and what is not base64 is read as it
//! is. A raw file that happens to be valid base64 is misread; there is no telling them apart.

use super::wire::{Field, Fields, Item, nest, nest_bytes, nest_with};
use super::{Under, Wrong};
use crate::dialect::Dialect;
use crate::dialect::v0_3::read::{WRAPPED, unwrapped};
use crate::message::{Part, PartContent};
use crate::{Json, Metadata};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

impl Item for Part {
    fn put(&self, dialect: Dialect, out: &mut Vec<u8>) {
        match dialect {
            Dialect::V1_0 => put(self, out),
            Dialect::V0_3 | Dialect::V0_1 => put_v0_3(self, out),
        }
    }

    fn take(content: &[u8], dialect: Dialect) -> Result<Self, Wrong> {
        let fields = Fields::of(content, dialect)?;
        match dialect {
            Dialect::V1_0 => take(&fields),
            Dialect::V0_3 | Dialect::V0_1 => take_v0_3(&fields),
        }
    }

    fn guess(&self) -> usize {
        match &self.content {
            PartContent::Text(text) | PartContent::Url(text) => text.len(),
            PartContent::Raw(bytes) => bytes.len(),
            PartContent::Data(data) => data.text().len(),
        }
    }
}

/// Bytes of a field that is there.
fn content<'a>(fields: &Fields<'a>, number: u32) -> Result<Cow<'a, [u8]>, Wrong> {
    Ok(fields.content(number, false)?.unwrap_or_default())
}

fn put(part: &Part, out: &mut Vec<u8>) {
    match &part.content {
        PartContent::Text(text) => nest_bytes(1, text.as_bytes(), out),
        PartContent::Raw(bytes) => nest_bytes(2, bytes, out),
        PartContent::Url(url) => nest_bytes(3, url.as_bytes(), out),
        PartContent::Data(data) => {
            nest(data, Dialect::V1_0, 4, out);
        }
    }
    part.metadata.write(Dialect::V1_0, 5, out);
    part.filename.write(Dialect::V1_0, 6, out);
    part.media_type.write(Dialect::V1_0, 7, out);
}

fn take(fields: &Fields<'_>) -> Result<Part, Wrong> {
    const NONE: &str = "a part needs one of text, raw, url or data";
    let content = match fields.last_of(&[1, 2, 3, 4]) {
        Some(1) => PartContent::Text(Field::read(fields, 1, "text")?),
        Some(2) => PartContent::Raw(content(fields, 2)?.into_owned()),
        Some(3) => PartContent::Url(Field::read(fields, 3, "url")?),
        Some(_) => PartContent::Data(Json::read(fields, 4, "data")?),
        None => return Err(Wrong::new("", NONE)),
    };
    Ok(Part {
        content,
        metadata: Field::read(fields, 5, "metadata")?,
        filename: Field::read(fields, 6, "filename")?,
        media_type: Field::read(fields, 7, "media_type")?,
    })
}

fn put_v0_3(part: &Part, out: &mut Vec<u8>) {
    let mut metadata = Cow::Borrowed(&part.metadata);
    match &part.content {
        PartContent::Text(text) => nest_bytes(1, text.as_bytes(), out),
        PartContent::Raw(bytes) => put_file(part, 2, STANDARD.encode(bytes).as_bytes(), out),
        PartContent::Url(url) => put_file(part, 1, url.as_bytes(), out),
        PartContent::Data(data) => {
            let members = Metadata::try_from(data.clone()).unwrap_or_else(|_| {
                metadata.to_mut().get_or_insert_default().insert(WRAPPED, true);
                Metadata::wrapping(data)
            });
            nest_with(3, 0, out, |out| {
                nest(&members, Dialect::V0_3, 1, out);
            });
        }
    }
    metadata.write(Dialect::V0_3, 4, out);
}

fn put_file(part: &Part, number: u32, content: &[u8], out: &mut Vec<u8>) {
    nest_with(2, content.len(), out, |out| {
        nest_bytes(number, content, out);
        part.media_type.write(Dialect::V0_3, 3, out);
        part.filename.write(Dialect::V0_3, 4, out);
    });
}

fn take_v0_3(fields: &Fields<'_>) -> Result<Part, Wrong> {
    const NONE: &str = "a part needs one of text, file or data";
    let metadata = Field::read(fields, 4, "metadata")?;
    let part = match fields.last_of(&[1, 2, 3]) {
        Some(1) => Part::text(String::read(fields, 1, "text")?),
        Some(2) => {
            let file = fields.content(2, true)?.unwrap_or_default();
            take_file(&Fields::of(&file, fields.dialect)?).under("file")?
        }
        Some(_) => {
            let data = fields.content(3, true)?.unwrap_or_default();
            let data =
                Option::read(&Fields::of(&data, fields.dialect)?, 1, "data").under("data")?;
            return Ok(unwrapped(Metadata::into(data.unwrap_or_default()), metadata));
        }
        None => return Err(Wrong::new("", NONE)),
    };
    Ok(Part { metadata, ..part })
}

fn take_file(fields: &Fields<'_>) -> Result<Part, Wrong> {
    const NONE: &str = "a file needs one of fileWithUri or fileWithBytes";
    let content = match fields.last_of(&[1, 2]) {
        Some(1) => PartContent::Url(Field::read(fields, 1, "file_with_uri")?),
        Some(_) => {
            let bytes = content(fields, 2)?;
            PartContent::Raw(STANDARD.decode(&bytes).unwrap_or_else(|_| bytes.into_owned()))
        }
        None => return Err(Wrong::new("", NONE)),
    };
    Ok(Part {
        media_type: Field::read(fields, 3, "mime_type")?,
        filename: Field::read(fields, 4, "name")?,
        ..Part::of(content)
    })
}

//! The messages of TensorBoard that weft writes, as prost structs. Names, numbers and types of fields
//! are those of TensorFlow's event.proto, summary.proto, tensor.proto, of protobuf's struct.proto and
//! of the HParams plugin's plugin_data.proto
//! (<https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto> and
//! `plugins/hparams`); what weft has no use for is left out.

use std::collections::BTreeMap;

/// One record of a file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// What the charts have below: here the epoch.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// The content.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// The content of an [`Event`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// The first record of a file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A reader forgets what it had from this step on.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// A process that writes has begun.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionLog {
    /// 1 is START.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// Values of a step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Summary {
    /// Values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value of a tag.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Such as "loss/train".
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Which plugin reads it.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<SummaryMetadata>,
    /// The value.
    #[prost(oneof = "Content", tags = "2, 4")]
    pub content: Option<Content>,
}

/// The content of a [`Value`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    /// A scalar.
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
}

/// A picture.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Image {
    /// Pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// 1 grey, 3 RGB, 4 RGBA.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// The file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_image_string: Vec<u8>,
}

/// What a value is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SummaryMetadata {
    /// For the plugin.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
}

/// What a plugin keeps in a value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginData {
    /// Which plugin.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// A message of its own.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// The HParams plugin's message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HParamsPluginData {
    /// 0
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// The content.
    #[prost(oneof = "HParams", tags = "3, 4")]
    pub data: Option<HParams>,
}

/// The content of a [`HParamsPluginData`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HParams {
    /// A run has begun.
    #[prost(message, tag = "3")]
    SessionStart(SessionStartInfo),
    /// It has ended.
    #[prost(message, tag = "4")]
    SessionEnd(SessionEndInfo),
}

/// What a run was started with.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionStartInfo {
    /// By name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub hparams: BTreeMap<String, HParam>,
    /// Seconds since 1970.
    #[prost(double, tag = "5")]
    pub start_time_secs: f64,
}

/// How a run ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionEndInfo {
    /// 1 is success.
    #[prost(int32, tag = "1")]
    pub status: i32,
    /// Seconds since 1970.
    #[prost(double, tag = "2")]
    pub end_time_secs: f64,
}

/// protobuf's `Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HParam {
    /// Its kind and value.
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    pub kind: Option<Kind>,
}

/// The content of a [`HParam`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A number.
    #[prost(double, tag = "2")]
    NumberValue(f64),
    /// A text.
    #[prost(string, tag = "3")]
    StringValue(String),
    /// Yes or no.
    #[prost(bool, tag = "4")]
    BoolValue(bool),
}

//! ONNX: one graph from pixels in [0, 1] to logits and probabilities. The operators are those of the
//! published specification (<https://onnx.ai/onnx/operators/>).

pub mod proto;

use prost::Message;

use super::Exported;
use super::layers::{Layer, Operation, ResidualBlock, Weights};
use crate::data::Statistics;
use crate::model::layers::{Activation, SELU_ALPHA, SELU_SCALE};
use proto::{
    AttributeProto, AttributeType, Dimension, DimensionProto, FLOAT, GraphProto, ModelProto,
    NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Of the file format and of the operators: those of ONNX 1.12, which onnxruntime reads since 1.12
/// (July 2022). Nothing of later ones is used; some readers, burn's among them, want 16 or more.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Names of the graph's ends.
const INPUT: &str = "images";
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";

/// The bytes of a file. The same model gives the same bytes.
pub(super) fn to_bytes(model: &Exported) -> Vec<u8> {
    file(model).encode_to_vec()
}

fn file(model: &Exported) -> ModelProto {
    let entry = |(key, value): &(&str, String)| StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some(value.clone()),
    };
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("weft".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        model_version: Some(model.step as i64),
        doc_string: Some(format!(
            "{}\nInput {INPUT}: {}\nOutputs: {LOGITS} and {PROBABILITIES}, of each class in the order \
             of class_names in the metadata.",
            model.title(),
            model.input_text()
        )),
        graph: Some(graph(model)),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: model.metadata.iter().map(entry).collect(),
    }
}

fn graph(model: &Exported) -> GraphProto {
    let mut graph = Graph::default();
    let mut value = INPUT.to_owned();
    if let Some(channels) = &model.normalization {
        value = graph.normalize(channels, &value);
    }
    graph.layers(&model.layers, value);
    // Along the classes.
    graph.node("Softmax", &[LOGITS], PROBABILITIES, vec![int("axis", 1)]);
    let input = model.input;
    let image = [input.channels, input.height, input.width];
    let of_classes = |name, doc| value_info(name, &[input.n_classes], doc);
    GraphProto {
        node: graph.nodes,
        name: Some(model.name.clone()),
        initializer: graph.initializers,
        doc_string: None,
        input: vec![value_info(INPUT, &image, &model.input_text())],
        output: vec![
            of_classes(LOGITS, "Before the softmax."),
            of_classes(PROBABILITIES, "They sum to 1."),
        ],
    }
}

#[derive(Default)]
struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Graph {
    fn layers(&mut self, layers: &[Layer], input: String) -> String {
        layers
            .iter()
            .fold(input, |value, layer| self.layer(layer, value))
    }

    fn residual_block(&mut self, input: String, block: &ResidualBlock) -> String {
        let first = self.layers(&block.first, input.clone());
        let around = match &block.projection {
            Some(projection) => self.layer(projection, first.clone()),
            None => input,
        };
        let path = self.layers(&block.path, first);
        self.node("Add", &[&around, &path], &block.name, Vec::new());
        block.name.clone()
    }

    /// Adds what a layer does to the value `input`. Returns the name of what comes out.
    fn layer(&mut self, layer: &Layer, input: String) -> String {
        let output = match layer.name.as_str() {
            "output" => LOGITS.to_owned(),
            name => name.to_owned(),
        };
        let mut inputs = vec![input];
        for (name, weights) in layer.weights() {
            self.initializer(&name, weights);
            inputs.push(name);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let (operator, attributes) = match &layer.operation {
            Operation::Convolution {
                weight,
                padding,
                stride,
                ..
            } => {
                let sides = ints("kernel_shape", &weight.shape[2..]);
                // Top, left, bottom, right.
                let pads = ints("pads", &[*padding; 4]);
                ("Conv", vec![sides, pads, ints("strides", &[*stride; 2])])
            }
            Operation::BatchNorm { epsilon, .. } => {
                ("BatchNormalization", vec![float("epsilon", *epsilon)])
            }
            Operation::Activation(activation) => {
                self.activation(*activation, inputs[0], &output);
                return output;
            }
            Operation::MaxPool(side) => {
                let sides = [*side, *side];
                let attributes = vec![ints("kernel_shape", &sides), ints("strides", &sides)];
                ("MaxPool", attributes)
            }
            Operation::Flatten => ("Flatten", vec![int("axis", 1)]),
            Operation::AveragePool => {
                let pooled = format!("{output}.pooled");
                self.node("GlobalAveragePool", &inputs, &pooled, Vec::new());
                self.node("Flatten", &[&pooled], &output, vec![int("axis", 1)]);
                return output;
            }
            Operation::Stage(blocks) => {
                let input = inputs[0].to_owned();
                return blocks
                    .iter()
                    .fold(input, |value, block| self.residual_block(value, block));
            }
            // The weight is [output, input], as in PyTorch.
            Operation::Linear { .. } => ("Gemm", vec![int("transB", 1)]),
        };
        self.node(operator, &inputs, &output, attributes);
        output
    }

    fn activation(&mut self, activation: Activation, input: &str, output: &str) {
        match activation {
            Activation::Relu => self.node("Relu", &[input], output, Vec::new()),
            Activation::Tanh => self.node("Tanh", &[input], output, Vec::new()),
            Activation::Selu => {
                let attributes = vec![float("alpha", SELU_ALPHA), float("gamma", SELU_SCALE)];
                self.node("Selu", &[input], output, attributes);
            }
            Activation::Gelu => self.gelu(input, output),
        }
    }

    fn normalize(&mut self, channels: &[Statistics], input: &str) -> String {
        let mut constant = |name: &str, of_channel: fn(&Statistics) -> f64| {
            let values = channels.iter().map(|channel| of_channel(channel) as f32);
            let weights = Weights {
                // The same over rows and columns.
                shape: vec![channels.len(), 1, 1],
                values: values.collect(),
            };
            self.initializer(name, &weights);
        };
        constant("mean", |channel| channel.mean);
        constant("deviation", |channel| channel.deviation);
        self.node("Sub", &[input, "mean"], "centered", Vec::new());
        self.node("Div", &["centered", "deviation"], "normalized", Vec::new());
        "normalized".to_owned()
    }

    /// x * (1 + erf(x / sqrt(2))) / 2: there is an operator for it from opset 20 on.
    fn gelu(&mut self, input: &str, output: &str) {
        for (name, value) in [
            ("gelu.sqrt_2", std::f32::consts::SQRT_2),
            ("gelu.one", 1.0),
            ("gelu.half", 0.5),
        ] {
            if self
                .initializers
                .iter()
                .all(|it| it.name.as_deref() != Some(name))
            {
                let (shape, values) = (Vec::new(), vec![value]);
                self.initializer(name, &Weights { shape, values });
            }
        }
        let inner = |part: &str| format!("{output}.{part}");
        let [scaled, erf, cumulative, twice] =
            ["scaled", "erf", "one_plus_erf", "twice"].map(inner);
        self.node("Div", &[input, "gelu.sqrt_2"], &scaled, Vec::new());
        self.node("Erf", &[&scaled], &erf, Vec::new());
        self.node("Add", &[&erf, "gelu.one"], &cumulative, Vec::new());
        self.node("Mul", &[input, &cumulative], &twice, Vec::new());
        self.node("Mul", &[&twice, "gelu.half"], output, Vec::new());
    }

    fn initializer(&mut self, name: &str, weights: &Weights) {
        self.initializers.push(TensorProto {
            dims: weights.shape.iter().map(|&side| side as i64).collect(),
            data_type: Some(FLOAT),
            name: Some(name.to_owned()),
            raw_data: Some(weights.to_bytes()),
        });
    }

    /// A node is called as what comes out of it.
    fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute: attributes,
        });
    }
}

fn attribute(name: &str, of_type: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(of_type.into()),
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto {
        f: Some(value as f32),
        ..attribute(name, AttributeType::Float)
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: Some(value),
        ..attribute(name, AttributeType::Int)
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        ints: values.iter().map(|&value| value as i64).collect(),
        ..attribute(name, AttributeType::Ints)
    }
}

/// A value `[batch, sides…]`.
fn value_info(name: &str, sides: &[usize], doc: &str) -> ValueInfoProto {
    let batch = Dimension::DimParam("batch".to_owned());
    let sides = sides.iter().map(|&side| Dimension::DimValue(side as i64));
    let dimension = |value| DimensionProto { value: Some(value) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(FLOAT),
                shape: Some(TensorShapeProto {
                    dim: [batch].into_iter().chain(sides).map(dimension).collect(),
                }),
            }),
        }),
        doc_string: Some(doc.to_owned()),
    }
}

//! Launching `shaders/conv_block*.wgsl`: which blocks they can do, and their text. A file for each pass
//! says how its work is divided.

mod everywhere;
mod forward;
mod input_grad;
mod weight_grad;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

pub(super) use forward::forward;
pub(super) use input_grad::input_grad;
pub(super) use weight_grad::weight_grad;

use forward::Forward;
use input_grad::InputGrad;
use weight_grad::WeightGrad;

use super::machine::Machine;
use super::template::{Numbers, expand};
use super::{MEMORY, MOST_ROUNDS, Program, WORKGROUP, activation};
use crate::kernels::conv_block::{Activation, Dropout, Spec};

type Float = FloatTensor<CubeBackend>;
type Int = IntTensor<CubeBackend>;

/// Invocations of a workgroup that every WebGPU device allows.
const MOST_INVOCATIONS: usize = 256;

/// Whether the shaders can do a block on any WebGPU device. Refused are kernels over 7 x 7, pools and
/// strides over 4 and windows that are over 8 pixels apart, whose registers would not suffice, and sizes
/// that no index or loop can count.
pub(super) fn fits(spec: &Spec) -> bool {
    if !(spec.is_valid()
        && spec.batch > 0
        && spec.kernel <= 7
        && spec.pool <= 4
        && spec.stride <= 4
        && spec.pool * spec.stride <= 8)
    {
        return false;
    }
    let numbers = [spec.image_len(), spec.output_len(), spec.windows()]
        .map(|n| n.saturating_mul(spec.batch.max(8)));
    let counted = numbers.iter().all(|&n| n < 1 << 30) && spec.weight_len() < 1 << 26;
    let rounds = [
        Forward::of(spec).rounds(spec),
        WeightGrad::of(spec, Machine::Gpu).rounds(),
        WeightGrad::of(spec, Machine::Software).rounds(),
        // A software renderer has the windows of a block side by side, not in a loop.
        InputGrad::of(spec, Machine::Gpu).rounds(spec),
    ];
    let backward = everywhere::applies(spec).then(|| everywhere::backward(spec));
    let backward = backward.map(|spec| Forward::of(&spec).rounds(&spec));
    let mut rounds = rounds.into_iter().chain(backward);
    counted && rounds.all(|rounds| rounds < MOST_ROUNDS)
}

/// What is computed, and how the work is divided: all of it is in the shader's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Block {
    part: Part,
    machine: Machine,
    spec: Spec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Forward,
    WeightGrad,
    WeightSum,
    InputGrad,
    /// Of [`everywhere`].
    Turn,
    Unrouted,
}

impl Block {
    fn new(part: Part, spec: &Spec, machine: Machine) -> Self {
        // What changes from step to step is not in the text.
        let dropout = spec.dropout.map(|dropout| Dropout { key: 0, ..dropout });
        let spec = Spec { dropout, ..*spec };
        Self {
            part,
            machine,
            spec,
        }
    }
}

impl Program for Block {
    fn text(&self) -> String {
        let Self { spec, machine, .. } = self;
        let common = concat!(
            include_str!("../../../../shaders/activation.wgsl"),
            include_str!("../../../../shaders/conv_block_common.wgsl")
        );
        let random = include_str!("../../../../shaders/random.wgsl");
        let (numbers, shader) = match self.part {
            Part::Forward => (
                Forward::of(spec).numbers(spec),
                include_str!("../../../../shaders/conv_block.wgsl"),
            ),
            Part::WeightGrad => (
                WeightGrad::of(spec, *machine).numbers(spec),
                include_str!("../../../../shaders/conv_block_weight_grad.wgsl"),
            ),
            Part::WeightSum => (
                WeightGrad::of(spec, *machine).numbers(spec),
                include_str!("../../../../shaders/conv_block_weight_sum.wgsl"),
            ),
            Part::InputGrad => (
                InputGrad::of(spec, *machine).numbers(spec),
                include_str!("../../../../shaders/conv_block_input_grad.wgsl"),
            ),
            Part::Turn => (
                for_each_element(spec),
                include_str!("../../../../shaders/conv_block_turn.wgsl"),
            ),
            Part::Unrouted => (
                for_each_element(spec),
                include_str!("../../../../shaders/conv_block_unrouted.wgsl"),
            ),
        };
        expand(&[common, random, shader].concat(), &numbers)
    }
}

/// `n` in as few parts of at most `most` as possible: the length of the longest.
fn even(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1))
}

/// Pixels on each axis under so many positions of the kernel.
fn patch(spec: &Spec, positions: usize) -> usize {
    (positions - 1) * spec.stride + spec.kernel
}

/// What all shaders of a block know.
fn numbers(spec: &Spec) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.set_all(&[
        ("BATCH", spec.batch),
        ("HEIGHT", spec.height),
        ("WIDTH", spec.width),
        ("CHANNELS", spec.in_channels),
        ("FILTERS", spec.out_channels),
        ("KERNEL", spec.kernel),
        ("AREA", area(spec)),
        ("PADDING", spec.padding),
        ("POOL", spec.pool),
        ("CONV_STRIDE", spec.stride),
        ("OUT_HEIGHT", spec.out_height()),
        ("OUT_WIDTH", spec.out_width()),
        ("WINDOWS", spec.windows()),
        ("CHANNELS_FIRST", usize::from(spec.channels_first)),
        ("BIAS", usize::from(spec.bias)),
        ("ROUTED", usize::from(spec.has_route())),
    ]);
    numbers.set("ACTIVATION", activation(spec.activation));
    let scale = spec.dropout.map_or(1f32.to_bits(), |d| d.scale_bits);
    numbers.set("SCALE_BITS", scale);
    numbers
}

/// With workgroups of one invocation per element.
fn for_each_element(spec: &Spec) -> Numbers {
    let mut numbers = numbers(spec);
    numbers.set("GROUP", WORKGROUP);
    numbers
}

fn area(spec: &Spec) -> usize {
    spec.kernel * spec.kernel
}

/// The tensors without the last one, the output, where no derivative needs it, and without the one before,
/// the route, where there is none.
fn used<'a>(tensors: &'a [&'a CubeTensor], spec: &Spec) -> &'a [&'a CubeTensor] {
    let unused = match spec.activation {
        Activation::Identity if !spec.has_route() => 2,
        Activation::Identity | Activation::Relu => 1,
        Activation::Tanh | Activation::Selu => 0,
    };
    &tensors[..tensors.len() - unused]
}

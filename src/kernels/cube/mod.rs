//! Launching the WGSL shaders through CubeCL.

mod adam;
mod average;
mod batch_norm;
mod conv_block;
mod cross_entropy;
mod dense;
mod machine;
mod orthogonal;
mod product;
mod template;

use std::fmt::Debug;
use std::hash::Hash;

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::cubecl::CubeCount;
use burn::cubecl::prelude::{ExecutionMode, KernelId};
use burn::cubecl::server::{Handle, KernelArguments, MetadataBindingInfo};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use burn_wgpu::CubeDim;

pub use machine::Machine;

use super::adam::AdamSpec;
use super::average::AverageSpec;
use super::conv_block::{Activation, Spec};
use super::cross_entropy::CrossEntropySpec;
use super::{DropoutSpec, GatherSpec, Kernels};

/// Invocations of one workgroup where nothing else is said; the shaders name the same number.
const WORKGROUP: u32 = 256;
/// Most workgroups on one axis that every WebGPU device allows.
const MAX_WORKGROUPS: u32 = 65_535;
/// Workgroup memory that every WebGPU device has, in bytes.
const MEMORY: usize = 16 * 1024;
/// Rounds of all loops of an invocation, below what Mesa's llvmpipe cuts off.
const MOST_ROUNDS: usize = 60_000;

/// Whether the shaders can do a block.
pub(super) fn does_block(spec: &Spec) -> bool {
    conv_block::fits(spec)
}

/// Whether the shaders can do a fully connected layer.
pub(super) fn does_layer(spec: &super::dense::Spec) -> bool {
    dense::fits(spec)
}

/// Whether the shaders can bring a matrix near to an orthogonal one.
pub(super) fn does_orthogonal(spec: &super::orthogonal::Spec) -> bool {
    orthogonal::fits(spec)
}

/// Whether the shaders can do a batch norm.
pub(super) fn does_norm(rows: usize, channels: usize) -> bool {
    batch_norm::fits(rows, channels)
}

/// As the shaders number the activations.
fn activation(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Tanh => 2,
        Activation::Selu => 3,
    }
}

/// A shader. The value is the key under which it is kept once compiled: it holds all that its text
/// depends on.
trait Program: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// The WGSL, made when there is none under the key.
    fn text(&self) -> String;
}

struct Source<P>(P);

impl<P: Program> KernelSource for Source<P> {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.text())
    }

    fn id(&self) -> KernelId {
        // Unchecked: no counter in each loop. The shaders' loops end.
        KernelId::new::<Self>()
            .info(self.0.clone())
            .mode(ExecutionMode::Unchecked)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Shaders whose text is fixed; the draws they use go in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fixed {
    GatherBatch,
    DropoutMask,
}

impl Program for Fixed {
    fn text(&self) -> String {
        let shader = match self {
            Self::GatherBatch => include_str!("../../../shaders/gather_batch.wgsl"),
            Self::DropoutMask => include_str!("../../../shaders/dropout_mask.wgsl"),
        };
        [include_str!("../../../shaders/random.wgsl"), shader].concat()
    }
}

impl Kernels for CubeBackend {
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self> {
        let [packed, order, table] = [packed, order, table].map(|tensor| {
            debug_assert_eq!(tensor.dtype(), DType::I32);
            into_contiguous(tensor)
        });
        let output = empty(&packed, spec.shape(), DType::F32);
        let tensors = [&packed, &order, &table, &output];
        launch(Fixed::GatherBatch, groups(&output), &tensors, &spec.words());
        output
    }

    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
        let shape = like.shape();
        let words = spec.words(shape.num_elements());
        let output = empty(&like, shape, DType::F32);
        launch(Fixed::DropoutMask, groups(&output), &[&output], &words);
        output
    }

    fn conv_block(
        images: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: Spec,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        conv_block::forward(images, weight, bias, &spec)
    }

    fn conv_block_weight_grad(
        images: FloatTensor<Self>,
        output: FloatTensor<Self>,
        route: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        conv_block::weight_grad(images, output, route, grad, &spec)
    }

    fn conv_block_input_grad(
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        route: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self> {
        conv_block::input_grad(weight, output, route, grad, &spec)
    }

    fn dense(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: super::dense::Spec,
    ) -> FloatTensor<Self> {
        dense::forward(inputs, weight, bias, &spec)
    }

    fn dense_grad(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        outputs: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        spec: super::dense::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        dense::gradient(inputs, weight, outputs, grad, &spec)
    }

    fn batch_statistics(
        x: FloatTensor<Self>,
        channels: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        batch_norm::statistics(x, channels)
    }

    fn normalize(
        x: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        spec: super::batch_norm::Spec,
    ) -> FloatTensor<Self> {
        batch_norm::forward(x, [mean, variance, gamma, beta], &spec)
    }

    fn normalize_grad(
        x: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        spec: super::batch_norm::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        batch_norm::gradient(x, [mean, variance, gamma, beta], grad, &spec)
    }

    fn cross_entropy(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        spec: CrossEntropySpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, IntTensor<Self>) {
        cross_entropy::forward(logits, labels, &spec)
    }

    fn cross_entropy_grad(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: CrossEntropySpec,
    ) -> FloatTensor<Self> {
        cross_entropy::gradient(logits, labels, grad, &spec)
    }

    fn adam(
        parameter: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        spec: AdamSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adam::adam(parameter, grad, [first, second], &spec)
    }

    fn average(
        average: FloatTensor<Self>,
        value: FloatTensor<Self>,
        spec: AverageSpec,
    ) -> FloatTensor<Self> {
        average::average(average, value, &spec)
    }

    fn orthogonal(matrix: FloatTensor<Self>, spec: super::orthogonal::Spec) -> FloatTensor<Self> {
        orthogonal::orthogonal(matrix, &spec)
    }
}

fn empty(beside: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, shape) = (beside.client.clone(), shape.into());
    let handle = client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(client, beside.device.clone(), shape, handle, dtype)
}

/// Workgroups for one invocation per element.
fn groups(output: &CubeTensor) -> [usize; 2] {
    [
        output.shape().num_elements().div_ceil(WORKGROUP as usize),
        1,
    ]
}

/// Launches a shader over `groups` workgroups. Its bindings are the tensors and, if there are any, the
/// `words`: these go where CubeCL has its own kernels' scalars, which costs no submission and nothing at
/// all where the same words were used lately.
///
/// The first number of `groups` may be more than a device allows on an axis: it is folded to the shader's
/// `id.x` and `id.y`. The second is its `id.z`.
fn launch<P: Program>(program: P, groups: [usize; 2], tensors: &[&CubeTensor], words: &[u32]) {
    let Some(client) = tensors.first().map(|tensor| &tensor.client) else {
        return;
    };
    let [first, second] = groups.map(|n| n as u32);
    let columns = first.clamp(1, MAX_WORKGROUPS);
    // What does not look at the second axis would do the first part over and over, and never the rest.
    assert!(
        first <= MAX_WORKGROUPS || program.text().contains("num_workgroups"),
        "{first} workgroups of a shader that goes along one axis"
    );
    let count = CubeCount::Static(columns, first.div_ceil(columns), second);
    let buffers = tensors
        .iter()
        .map(|tensor| Handle::binding(tensor.handle.clone()))
        .collect();
    let words = words.chunks(2).map(|pair| {
        let high = pair.get(1).copied().unwrap_or(0);
        u64::from(pair[0]) | u64::from(high) << 32
    });
    let arguments = KernelArguments::new()
        .with_buffers(buffers)
        .with_info(MetadataBindingInfo::custom(words.collect()));
    let kernel = SourceKernel::new(Source(program), CubeDim::new_1d(WORKGROUP));
    client.launch(Box::new(kernel), count, arguments);
}

//! Kernels of our own, behind one backend extension: each is a WGSL shader for the GPU with a CPU
//! twin of the same name, and a test that compares the two on real input.
//!
//! The functions of this module are what the rest of weft calls; they work on every device, under
//! fusion and under autodiff.

#![expect(
    deprecated,
    reason = "burn deprecates ndarray in favour of flex; weft keeps it as a second CPU path"
)]

mod cube;
pub mod dropout_mask;
pub mod gather_batch;
pub mod random;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex, NdArray, TensorMetadata, backend_extension,
};
use burn::tensor::{DType, Int, Tensor, TensorData};

pub use dropout_mask::DropoutSpec;
pub use gather_batch::GatherSpec;

/// The operations that weft adds to burn's backends.
#[backend_extension(Cube, Flex, NdArray, Fusion, Autodiff)]
pub trait Kernels: Backend {
    /// See [`gather_batch()`].
    #[fusion(meta = gather_batch::output)]
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self>;

    /// See [`dropout()`]. `like` gives the shape and the device.
    #[fusion(meta = dropout_mask::output)]
    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self>;
}

/// Gathers, augments and normalises one batch: `[batch, channel, height, width]` f32.
///
/// * `packed`: `[n_images * words]`, four bytes to an i32 (see [`gather_batch::pack`]).
/// * `order`: `[n_positions]`, image indices; the batch is `spec.first .. spec.first + spec.n_images`.
/// * `table`: `[channels * 256]`, the bits of the f32 value of each byte (see [`gather_batch::table`]).
pub fn gather_batch(
    packed: &Tensor<1, Int>,
    order: &Tensor<1, Int>,
    table: &Tensor<1, Int>,
    spec: GatherSpec,
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Kernels>::gather_batch(
        packed.clone().into_dispatch(),
        order.clone().into_dispatch(),
        table.clone().into_dispatch(),
        spec,
    ))
}

/// Inverted dropout: each element is zeroed with the spec's probability, the rest scaled up. Which
/// ones is a pure function of (key, layer, element), so a resumed step drops what it would have.
pub fn dropout<const D: usize>(input: Tensor<D>, spec: DropoutSpec) -> Tensor<D> {
    let mask = <Dispatch as Kernels>::dropout_mask(input.clone().into_dispatch(), spec);
    input * Tensor::from_dispatch(mask)
}

impl Kernels for Flex {
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self> {
        let (packed, order) = (packed.to_contiguous(), order.to_contiguous());
        let table = table.to_contiguous();
        let pixels = gather_batch::on_cpu(
            packed.storage::<i32>(),
            order.storage::<i32>(),
            table.storage::<i32>(),
            &spec,
        );
        Self::float_tensor(pixels, spec.shape())
    }

    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
        let shape = like.shape();
        let mask = dropout_mask::on_cpu(shape.num_elements(), &spec);
        Self::float_tensor(mask, shape.to_vec())
    }
}

impl Kernels for NdArray {
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self> {
        let pixels = with_i32(&packed, |packed| {
            with_i32(&order, |order| {
                with_i32(&table, |table| {
                    gather_batch::on_cpu(packed, order, table, &spec)
                })
            })
        });
        Self::float_tensor(pixels, spec.shape())
    }

    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
        let shape = like.shape();
        let mask = dropout_mask::on_cpu(shape.num_elements(), &spec);
        Self::float_tensor(mask, shape.to_vec())
    }
}

/// Batches are constants to autodiff, and so are masks: the multiplication by a mask is tracked.
impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self> {
        <Self as AutodiffBackend>::from_inner(B::gather_batch(packed, order, table, spec))
    }

    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
        let like = <Self as AutodiffBackend>::inner(like);
        <Self as AutodiffBackend>::from_inner(B::dropout_mask(like, spec))
    }
}

/// Makes a CPU backend's float tensor from what a twin computed.
trait FromTwin: Backend<Device: Default> {
    fn float_tensor(values: Vec<f32>, shape: Vec<usize>) -> FloatTensor<Self> {
        Self::float_from_data(TensorData::new(values, shape), &Self::Device::default())
    }
}

impl FromTwin for Flex {}
impl FromTwin for NdArray {}

/// Lends an ndarray integer tensor's elements as i32, without a copy where they are stored so.
fn with_i32<R>(tensor: &burn_ndarray::NdArrayTensor, f: impl FnOnce(&[i32]) -> R) -> R {
    use burn_ndarray::NdArrayTensor;
    if let NdArrayTensor::I32(storage) = tensor
        && let Some(values) = storage.view().as_slice()
    {
        return f(values);
    }
    let values: Vec<i32> = match tensor {
        NdArrayTensor::I32(storage) => storage.view().iter().copied().collect(),
        NdArrayTensor::I64(storage) => storage.view().iter().map(|&v| v as i32).collect(),
        other => unreachable!(
            "integer tensors are i32 or i64 here, not {:?}",
            other.dtype()
        ),
    };
    f(&values)
}

/// The metadata that fusion needs before a kernel runs.
pub(crate) fn f32_output(shape: Vec<usize>) -> burn::backend::fusion::custom::TensorSpec {
    burn::backend::fusion::custom::TensorSpec::new(shape.into(), DType::F32)
}

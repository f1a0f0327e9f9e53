//! Launching the WGSL shaders through CubeCL.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::cubecl::CubeCount;
use burn::cubecl::prelude::KernelId;
use burn::cubecl::server::{Handle, KernelArguments};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use burn_wgpu::CubeDim;

use super::{DropoutSpec, GatherSpec, Kernels};

/// Invocations of one workgroup; the shaders name the same number.
const WORKGROUP: u32 = 256;
/// Most workgroups on one axis that every WebGPU device allows.
const MAX_WORKGROUPS: u32 = 65_535;

/// A shader of ours, with the draws it uses in front.
struct Shader {
    name: &'static str,
    source: &'static str,
}

const GATHER_BATCH: Shader = Shader {
    name: "gather_batch",
    source: include_str!("../../shaders/gather_batch.wgsl"),
};
const DROPOUT_MASK: Shader = Shader {
    name: "dropout_mask",
    source: include_str!("../../shaders/dropout_mask.wgsl"),
};

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(include_str!("../../shaders/random.wgsl")).add_template(self.source)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.name, self.source))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

impl Kernels for CubeBackend {
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self> {
        let inputs = [packed, order, table].map(|tensor| {
            debug_assert_eq!(tensor.dtype(), DType::I32);
            into_contiguous(tensor)
        });
        let output = empty_f32(&inputs[0], spec.shape().into());
        let handles = inputs.each_ref().map(|input| input.handle.clone());
        launch(GATHER_BATCH, &output, &handles, &spec.words());
        output
    }

    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
        let shape = like.shape();
        let words = spec.words(shape.num_elements());
        let output = empty_f32(&like, shape);
        launch(DROPOUT_MASK, &output, &[], &words);
        output
    }

    fn conv_block(
        _images: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _bias: FloatTensor<Self>,
        _spec: super::conv_block::Spec,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        unreachable!("not written yet")
    }

    fn conv_block_weight_grad(
        _images: FloatTensor<Self>,
        _output: FloatTensor<Self>,
        _route: IntTensor<Self>,
        _grad: FloatTensor<Self>,
        _spec: super::conv_block::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("not written yet")
    }

    fn conv_block_input_grad(
        _weight: FloatTensor<Self>,
        _output: FloatTensor<Self>,
        _route: IntTensor<Self>,
        _grad: FloatTensor<Self>,
        _spec: super::conv_block::Spec,
    ) -> FloatTensor<Self> {
        unreachable!("not written yet")
    }

    fn dense(
        _inputs: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _bias: FloatTensor<Self>,
        _spec: super::dense::Spec,
    ) -> FloatTensor<Self> {
        unreachable!("not written yet")
    }

    fn dense_grad(
        _inputs: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _outputs: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _spec: super::dense::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("not written yet")
    }

    fn cross_entropy(
        _logits: FloatTensor<Self>,
        _labels: IntTensor<Self>,
        _spec: super::cross_entropy::CrossEntropySpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, IntTensor<Self>) {
        unreachable!("not written yet")
    }

    fn cross_entropy_grad(
        _logits: FloatTensor<Self>,
        _labels: IntTensor<Self>,
        _grad: FloatTensor<Self>,
        _spec: super::cross_entropy::CrossEntropySpec,
    ) -> FloatTensor<Self> {
        unreachable!("not written yet")
    }

    fn adam(
        _parameter: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _first: FloatTensor<Self>,
        _second: FloatTensor<Self>,
        _spec: super::adam::AdamSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("not written yet")
    }
}

fn empty_f32(beside: &CubeTensor, shape: Shape) -> CubeTensor {
    let client = beside.client.clone();
    let handle = client.empty(shape.num_elements() * size_of::<f32>());
    CubeTensor::new_contiguous(client, beside.device.clone(), shape, handle, DType::F32)
}

/// One invocation for each element of `output`; bindings: inputs, output, spec.
fn launch(shader: Shader, output: &CubeTensor, inputs: &[Handle], spec: &[u32]) {
    let client = &output.client;
    let groups = (output.shape().num_elements() as u32).div_ceil(WORKGROUP);
    let columns = groups.clamp(1, MAX_WORKGROUPS);
    let count = CubeCount::Static(columns, groups.div_ceil(columns), 1);

    let bytes: Vec<u8> = spec.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let spec = client.create_from_slice(&bytes);
    let buffers = inputs
        .iter()
        .cloned()
        .chain([output.handle.clone(), spec])
        .map(Handle::binding)
        .collect();
    let kernel = SourceKernel::new(shader, CubeDim::new_1d(WORKGROUP));
    client.launch(
        Box::new(kernel),
        count,
        KernelArguments::new().with_buffers(buffers),
    );
}

//! What runs the shaders.

use std::sync::atomic::{AtomicU8, Ordering};

use burn_cubecl::tensor::CubeTensor;

/// What computes. A software renderer runs eight invocations in one thread and takes a load for each of
/// them apart: it wants few and large ones, a GPU many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// A graphics card.
    Gpu,
    /// A processor that pretends to be one.
    Software,
}

static ASSUMED: AtomicU8 = AtomicU8::new(0);

impl Machine {
    /// For tests: divides the work of all further launches as for this machine, whatever there is.
    #[doc(hidden)]
    pub fn assume(self) {
        ASSUMED.store(1 + self as u8, Ordering::Relaxed);
    }

    pub(super) fn of(tensor: &CubeTensor) -> Self {
        match ASSUMED.load(Ordering::Relaxed) {
            0 => match tensor.client.properties().identity.physical {
                Some(_) => Self::Gpu,
                None => Self::Software,
            },
            1 => Self::Gpu,
            _ => Self::Software,
        }
    }
}

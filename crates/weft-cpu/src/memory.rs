//! Room for results.

/// A vector of `len` numbers that `fill` writes. Nothing is written before it: clearing what is
/// overwritten anyway takes as long as some of the kernels.
///
/// # Safety
/// `fill` reads no number that it has not written, and writes all of them.
pub unsafe fn written<T: Copy>(len: usize, fill: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut numbers = Vec::<T>::with_capacity(len);
    let room = &mut numbers.spare_capacity_mut()[..len];
    // SAFETY: the room is there and of this type; the caller answers for what is in it.
    unsafe {
        fill(std::slice::from_raw_parts_mut(
            room.as_mut_ptr().cast(),
            len,
        ));
        numbers.set_len(len);
    }
    numbers
}

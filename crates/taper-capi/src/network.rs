//! The functions that open, inspect, run and close networks.

use crate::error::guard;
use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
    sync::{Mutex, PoisonError},
};
use taper_infer::{
    Engine, Options, Workspace,
    onnx::{self, LeftOpen},
};

/// `taper_network` of the header.
pub struct OpenNetwork {
    engine: Engine,
    /// The mutex serializes the runs of several threads.
    workspace: Mutex<Workspace>,
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `path` is null or a string that ends in a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_open(
    path: *const c_char,
    batch: usize,
    threads: usize,
) -> *mut OpenNetwork {
    // SAFETY: the caller promises the condition on `path`, and null is allowed for the other pointers.
    unsafe { taper_open_with(path, batch, threads, ptr::null(), ptr::null()) }
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `path` and `output` are null or strings that end in a zero byte. `size` is null or has three numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_open_with(
    path: *const c_char,
    batch: usize,
    threads: usize,
    size: *const usize,
    output: *const c_char,
) -> *mut OpenNetwork {
    guard(ptr::null_mut(), || {
        // SAFETY: the caller promises the condition of `text`.
        let path = unsafe { text(path, "path") }?.ok_or("the path is NULL")?;
        // SAFETY: as above.
        let output = unsafe { text(output, "output") }?.map(String::from);
        if !size.is_null() && !size.is_aligned() {
            return Err("size is not aligned for size_t".into());
        }
        // SAFETY: the pointer is null or aligned, and the caller promises that it is null or has three numbers.
        let image = unsafe { size.cast::<[usize; 3]>().as_ref() }.copied();
        let options = Options { batch, threads, ..Options::default() };
        options.check().map_err(|e| e.to_string())?;
        let graph =
            onnx::Options { image, output }.open(path).map_err(|e| match e.left_open() {
                Some(LeftOpen::Image) => format!("{}; pass it to taper_open_with()", e.reason()),
                Some(LeftOpen::Output) => format!("{}; name it in taper_open_with()", e.reason()),
                None => e.to_string(),
            })?;
        let engine = Engine::compile(&graph, &options).map_err(|e| format!("{path}: {e}"))?;
        let workspace = engine.workspace().map_err(|e| format!("{path}: {e}"))?;
        let workspace = Mutex::new(workspace);
        Ok(Box::into_raw(Box::new(OpenNetwork { engine, workspace })))
    })
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `network` is null or from `taper_open`, and not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_input_len(network: *const OpenNetwork) -> usize {
    // SAFETY: the caller promises the condition of `opened`.
    guard(0, || unsafe { opened(network) }.map(|n| n.engine.input_dims().iter().product()))
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `network` is null or from `taper_open`, and not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_output_len(network: *const OpenNetwork) -> usize {
    // SAFETY: the caller promises the condition of `opened`.
    guard(0, || unsafe { opened(network) }.map(|n| n.engine.output_dims().iter().product()))
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `network` is null or from `taper_open`, and not closed; `dims` is null or has room for `capacity` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_input_dims(
    network: *const OpenNetwork,
    dims: *mut usize,
    capacity: usize,
) -> usize {
    // SAFETY: the caller promises the conditions of `opened` and `give`.
    guard(0, || unsafe { give(opened(network)?.engine.input_dims(), dims, capacity) })
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// As for [`taper_input_dims`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_output_dims(
    network: *const OpenNetwork,
    dims: *mut usize,
    capacity: usize,
) -> usize {
    // SAFETY: the caller promises the conditions of `opened` and `give`.
    guard(0, || unsafe { give(opened(network)?.engine.output_dims(), dims, capacity) })
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `network` is null or from `taper_open`, and not closed. `images` is null or points to `n_images` images. `results`
/// is null or has room for `n_images` results. During the call nothing writes `images`, and nothing else reads or
/// writes `results`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_run(
    network: *const OpenNetwork,
    images: *const f32,
    n_images: usize,
    results: *mut f32,
) -> c_int {
    guard(-1, || {
        // SAFETY: the caller promises the condition of `opened`.
        let OpenNetwork { engine, workspace } = unsafe { opened(network) }?;
        if !(1..=engine.batch()).contains(&n_images) {
            return Err(format!(
                "the number of images is {n_images}, but the network was opened for batches from 1 to {}",
                engine.batch()
            ));
        }
        for (what, is_null, is_aligned) in [
            ("images", images.is_null(), images.is_aligned()),
            ("results", results.is_null(), results.is_aligned()),
        ] {
            if is_null || !is_aligned {
                let wrong = if is_null { "NULL" } else { "not aligned for float" };
                return Err(format!("{what} is {wrong}"));
            }
        }
        let len = |dims: &[usize]| {
            let len = dims.iter().try_fold(n_images, |n, &size| n.checked_mul(size));
            len.ok_or_else(|| format!("{n_images} images are too many"))
        };
        let (n_in, n_out) = (len(engine.input_dims())?, len(engine.output_dims())?);
        // SAFETY: the pointer is neither null nor misaligned. The caller promises that it points to `n_in` floats, and
        // that nothing writes them during the call.
        let images = unsafe { std::slice::from_raw_parts(images, n_in) };
        // SAFETY: the pointer is neither null nor misaligned. The caller promises that it has room for `n_out` floats,
        // and that nothing else reads or writes them during the call. A slice must be initialised, and memory of C may
        // not be.
        let results = unsafe {
            results.write_bytes(0, n_out);
            std::slice::from_raw_parts_mut(results, n_out)
        };
        let mut workspace = workspace.lock().unwrap_or_else(PoisonError::into_inner);
        engine.run_with(&mut workspace, images, results).map_err(|e| e.to_string())?;
        Ok(0)
    })
}

/// See `include/taper_infer.h`.
///
/// # Safety
/// `network` is null, or it is from `taper_open`, not closed, and no other call uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_close(network: *mut OpenNetwork) {
    guard((), || {
        if !network.is_null() {
            // SAFETY: `taper_open` made the pointer from a box, and the caller promises that nothing else uses it.
            drop(unsafe { Box::from_raw(network) });
        }
        Ok(())
    });
}

/// Reads a UTF-8 string; `None` if the pointer is null.
///
/// # Safety
/// `text` is null or a string that ends in a zero byte. The string stays valid and unchanged during `'a`.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>, String> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the pointer is not null, and the caller promises that the string ends in a zero byte and stays valid.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| format!("the {what} is not UTF-8"))
}

/// The network of a pointer.
///
/// # Safety
/// `network` is null or from `taper_open`, and not closed while the reference is used.
unsafe fn opened<'a>(network: *const OpenNetwork) -> Result<&'a OpenNetwork, String> {
    // SAFETY: if the pointer is not null, `taper_open` made it from a box, and the network is not closed.
    unsafe { network.as_ref() }.ok_or_else(|| "the network is NULL".into())
}

/// Writes the first `capacity` sizes to `to`, and returns the number of all sizes.
///
/// # Safety
/// `to` is null or has room for `capacity` numbers.
unsafe fn give(dims: &[usize], to: *mut usize, capacity: usize) -> Result<usize, String> {
    if capacity > 0 && (to.is_null() || !to.is_aligned()) {
        return Err("dims is NULL or not aligned for size_t".into());
    }
    for (at, &size) in dims.iter().take(capacity).enumerate() {
        // SAFETY: the pointer is neither null nor misaligned. `at` is below `capacity`, and the caller promises room
        // for `capacity` numbers.
        unsafe { to.add(at).write(size) };
    }
    Ok(dims.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::last;
    use std::ffi::CString;

    #[test]
    fn null_is_rejected_everywhere() {
        let none: *const OpenNetwork = ptr::null();
        let refused = |said: &str| assert!(last().contains(said), "{}", last());
        // SAFETY: null is allowed.
        unsafe {
            assert!(taper_open(ptr::null(), 1, 1).is_null());
            refused("path is NULL");
            assert_eq!((taper_input_len(none), taper_output_len(none)), (0, 0));
            refused("network is NULL");
            assert_eq!(taper_input_dims(none, ptr::null_mut(), 0), 0);
            assert_eq!(taper_output_dims(none, ptr::null_mut(), 0), 0);
            assert_eq!(taper_run(none, ptr::null(), 1, ptr::null_mut()), -1);
            taper_close(ptr::null_mut());
        }
    }

    #[test]
    fn errors_of_opening_name_the_cause() {
        let open = |path: &CStr, batch, threads| {
            // SAFETY: the path is a C string.
            assert!(unsafe { taper_open(path.as_ptr(), batch, threads) }.is_null());
            last()
        };
        assert!(open(c"nowhere.onnx", 1, 1).contains("nowhere.onnx"));
        assert!(open(c"\xff", 1, 1).contains("not UTF-8"));
        assert!(open(c"nowhere.onnx", 0, 1).contains("batch is 0"));
        assert!(open(c"nowhere.onnx", 1, 0).contains("threads is 0"));
        // A C program that passes -1 gets the largest number.
        assert!(open(c"nowhere.onnx", usize::MAX, 2).contains("outside 1 to 65536"));
        assert!(open(c"nowhere.onnx", 1, usize::MAX).contains("outside 1 to 1024"));
    }

    #[test]
    fn the_caller_chooses_image_size_and_output_that_a_file_leaves_open() {
        use taper_infer::onnx::proto::{Dimension, Message, ModelProto, ValueInfo};
        let bytes = std::fs::read("../../testdata/infer/network.onnx").unwrap();
        let mut model = ModelProto::decode(&bytes[..]).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let whole = graph.output[0].name.clone();
        // The output of the first node becomes a second output, and the image size becomes open.
        let first = graph.node[0].output[0].clone();
        graph.output.push(ValueInfo { name: first.clone(), r#type: None });
        let shape = graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        let dims = &mut shape.shape.as_mut().unwrap().dim;
        let size = [1, 2, 3].map(|i| dims[i].dim_value.unwrap() as usize);
        dims.iter_mut().for_each(|dim| *dim = Dimension::default());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open.onnx");
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        let text = |text: &str| CString::new(text).unwrap();
        let path = text(path.to_str().unwrap());
        let open = |size: Option<[usize; 3]>, output: Option<&CStr>| {
            let size = size.as_ref().map_or(ptr::null(), |size| size.as_ptr());
            let output = output.map_or(ptr::null(), CStr::as_ptr);
            // SAFETY: the pointers are null, C strings, or point to three numbers.
            unsafe { taper_open_with(path.as_ptr(), 1, 1, size, output) }
        };
        assert!(open(None, None).is_null());
        assert!(last().ends_with("; pass it to taper_open_with()"), "{}", last());
        assert!(open(Some(size), None).is_null());
        assert!(last().ends_with("; name it in taper_open_with()"), "{}", last());
        assert!(open(Some(size), Some(c"nothing")).is_null());
        assert!(last().contains("no output `nothing`"), "{}", last());
        assert!(open(Some(size), Some(c"\xff")).is_null());
        assert_eq!(last(), "the output is not UTF-8");
        // SAFETY: the offset of one byte stays inside the array.
        let odd = unsafe { size.as_ptr().byte_add(1) };
        // SAFETY: the path is a C string, and the misaligned pointer is rejected before it is read.
        assert!(unsafe { taper_open_with(path.as_ptr(), 1, 1, odd, ptr::null()) }.is_null());
        assert_eq!(last(), "size is not aligned for size_t");
        let networks = [&whole, &first].map(|name| open(Some(size), Some(&text(name))));
        // SAFETY: the networks are open, and `dims` has room for three numbers.
        unsafe {
            let lens = networks.map(|network| taper_output_len(network));
            assert!(lens[0] > 0 && lens[1] > lens[0], "{lens:?}: {}", last());
            let mut dims = [0; 3];
            assert_eq!(taper_input_dims(networks[0], dims.as_mut_ptr(), 3), 3);
            assert_eq!(dims, size);
            networks.iter().for_each(|&network| taper_close(network));
        }
    }

    #[test]
    fn a_network_runs_and_rejects_invalid_arguments() {
        let path = c"../../testdata/infer/network.onnx";
        // SAFETY: the path is a C string.
        let network = unsafe { taper_open(path.as_ptr(), 2, 1) };
        assert!(!network.is_null(), "{}", last());
        // SAFETY: the network is open, and every buffer has room for its `capacity`, images or results.
        unsafe {
            let (n_in, n_out) = (taper_input_len(network), taper_output_len(network));
            let mut dims = [9; 4];
            let rank = taper_input_dims(network, dims.as_mut_ptr(), 4);
            assert_eq!(dims[..rank].iter().product::<usize>(), n_in);
            let mut first = [9; 2];
            assert_eq!(taper_input_dims(network, first.as_mut_ptr(), 1), rank);
            assert_eq!(first, [dims[0], 9]);
            assert_eq!(taper_input_dims(network, ptr::null_mut(), 1), 0);
            assert_eq!(taper_input_dims(network, ptr::null_mut(), 0), rank);

            let images = vec![0.5; 2 * n_in];
            let mut results = vec![f32::NAN; 2 * n_out];
            let run = |images, n, results| taper_run(network, images, n, results);
            assert_eq!(run(images.as_ptr(), 2, results.as_mut_ptr()), 0, "{}", last());
            assert!(results.iter().all(|value| value.is_finite()));
            assert_eq!(results[..n_out], results[n_out..]);
            for n in [0, 3, usize::MAX] {
                assert_eq!(run(images.as_ptr(), n, results.as_mut_ptr()), -1);
                assert!(last().contains("from 1 to 2"), "{}", last());
            }
            assert_eq!(run(ptr::null(), 1, results.as_mut_ptr()), -1);
            assert_eq!(last(), "images is NULL");
            assert_eq!(run(images.as_ptr(), 1, ptr::null_mut()), -1);
            assert_eq!(last(), "results is NULL");
            assert_eq!(run(images.as_ptr().byte_add(1), 1, results.as_mut_ptr()), -1);
            assert_eq!(last(), "images is not aligned for float");
            taper_close(network);
        }
    }
}

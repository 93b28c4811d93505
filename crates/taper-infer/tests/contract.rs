//! The contract of an engine with its callers: use from several threads, and error messages.

use taper_graph::random;
use taper_infer::{Engine, InferError, Options, Plan, Variant, Workspace};

fn engine(batch: usize, threads: usize) -> (Engine, Vec<f32>) {
    let graph = random::graph(7);
    let options = Options { batch, threads, deterministic: true, ..Options::default() };
    let images = random::images(&graph, batch, 7);
    (Engine::compile(&graph, &options).unwrap(), images)
}

#[test]
fn engines_and_workspaces_are_send_and_sync() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Engine>();
    is_shared::<Workspace>();
    is_shared::<Plan>();
    is_shared::<InferError>();
}

#[test]
fn several_threads_run_one_engine_at_the_same_time() {
    for threads in [1, 2] {
        let (engine, images) = engine(3, threads);
        assert_eq!((engine.batch(), engine.threads()), (3, threads));
        let want = engine.run(&images).unwrap();
        std::thread::scope(|scope| {
            for caller in 0..6 {
                let (engine, images, want) = (&engine, &images, &want);
                scope.spawn(move || {
                    let mut workspace = engine.workspace().unwrap();
                    let mut results = vec![0.0; want.len()];
                    for _ in 0..50 {
                        match caller % 2 {
                            0 => results = engine.run(images).unwrap(),
                            _ => engine.run_with(&mut workspace, images, &mut results).unwrap(),
                        }
                        assert_eq!(&results, want);
                        results.fill(f32::NAN);
                    }
                });
            }
        });
    }
}

#[test]
fn a_run_has_no_more_threads_than_images() {
    for (batch, threads, used) in [(1, 64, 1), (3, 64, 3), (64, 3, 3)] {
        assert_eq!(engine(batch, threads).0.threads(), used);
    }
}

#[test]
fn options_outside_of_their_range_are_named() {
    let graph = random::graph(7);
    for (batch, threads, text) in [
        (0, 1, "batch is 0, outside 1 to 65536"),
        (65_537, 2, "batch is 65537, outside 1 to 65536"),
        (usize::MAX, 2, "outside 1 to 65536"),
        (1, 0, "threads is 0, outside 1 to 1024"),
        (1, 1025, "threads is 1025, outside 1 to 1024"),
    ] {
        let options = Options { batch, threads, ..Options::default() };
        let error = Engine::compile(&graph, &options).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let all = [Variant::Avx512, Variant::Avx2, Variant::Neon, Variant::Scalar];
    for variant in all.into_iter().filter(|variant| !variant.is_available()) {
        let options = Options { variant: Some(variant), ..Options::default() };
        let error = Engine::compile(&graph, &options).unwrap_err().to_string();
        assert!(error.contains(&variant.to_string()) && error.contains("this machine"), "{error}");
    }
}

#[test]
fn images_and_results_of_other_sizes_are_refused() {
    for threads in [1, 2] {
        let (engine, images) = engine(3, threads);
        let each = images.len() / 3;
        let dims = format!("{:?}", engine.input_dims());
        let four = [&images[..], &images[..each]].concat();
        for wrong in [&images[..0], &images[..each - 1], &images[..each + 1], &four] {
            for error in [engine.run(wrong).unwrap_err(), engine.profile(wrong, 1).unwrap_err()] {
                let text = error.to_string();
                let parts = [&wrong.len().to_string(), "1 to 3 images", &dims, &each.to_string()];
                assert!(parts.iter().all(|part| text.contains(*part)), "{text}");
            }
        }
        let n = engine.run(&images[..each]).unwrap().len();
        let mut workspace = engine.workspace().unwrap();
        for room in [0, n - 1, n + 1, 2 * n] {
            let mut results = vec![7.0; room];
            let error = engine.run_with(&mut workspace, &images[..each], &mut results).unwrap_err();
            assert!(error.to_string().contains(&format!("room for {room} results")), "{error}");
            assert!(results.iter().all(|&v| v == 7.0));
        }
    }
}

#[test]
fn a_workspace_of_another_engine_is_refused() {
    let ((engine, images), (other, _)) = (self::engine(1, 1), self::engine(1, 1));
    let mut results = engine.run(&images).unwrap();
    let error =
        engine.run_with(&mut other.workspace().unwrap(), &images, &mut results).unwrap_err();
    assert_eq!(error, InferError::Workspace);
    assert!(error.to_string().contains("another engine"));
    // The same call works with the workspace's own engine.
    assert_eq!(other.run_with(&mut other.workspace().unwrap(), &images, &mut results), Ok(()));
}

//! Speed of three networks with random pruned weights (temporary).
use std::time::Instant;
use taper_graph::*;
use taper_infer::*;

struct B {
    g: Graph,
    seed: u64,
    n: usize,
    cut: f64,
}
impl B {
    fn normal(&mut self) -> f64 {
        let mut s = 0.0;
        for _ in 0..12 {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            s += (self.seed >> 11) as f64 / (1u64 << 53) as f64;
        }
        s - 6.0
    }
    fn conv(
        &mut self,
        x: &[usize],
        cin: usize,
        cout: usize,
        k: usize,
        s: usize,
        groups: usize,
        std: f64,
        res: Option<usize>,
        relu: bool,
    ) -> usize {
        self.n += 1;
        let name = format!("conv{}", self.n);
        let each = cin / groups;
        let w: Vec<f32> = (0..cout * each * k * k)
            .map(|_| {
                let v = self.normal() * std;
                if v.abs() > self.cut { v as f32 } else { 0.0 }
            })
            .collect();
        self.g.add_tensor(&name, Tensor::new(&[cout, each, k, k], w).unwrap());
        let b: Vec<f32> = (0..cout).map(|_| (self.normal() * 0.1) as f32).collect();
        self.g.add_tensor(format!("{name}.b"), Tensor::new(&[cout], b).unwrap());
        let conv =
            Conv { weight: name.clone(), bias: None, window: Window::square(k, s, k / 2), groups };
        let mut inputs = x.to_vec();
        inputs.extend(res);
        let f = Fused {
            convs: vec![conv],
            bias: Some(format!("{name}.b")),
            residual: res.is_some(),
            activation: relu.then_some(Activation::Relu),
        };
        self.g.push(Op::Fused(f), &inputs).unwrap()
    }
    fn block(&mut self, x: usize, cin: usize, cout: usize) -> usize {
        let s = if cin == cout { 1 } else { 2 };
        let std = |c: usize| (2.0 / (9.0 * c as f64)).sqrt();
        let y = self.conv(&[x], cin, cout, 3, s, 1, std(cout), None, true);
        if s == 1 {
            return self.conv(&[y], cout, cout, 3, 1, 1, std(cout), Some(x), true);
        }
        let z = self.conv(&[y], cout, cout, 3, 1, 1, std(cout), None, true);
        let d = self.conv(&[x], cin, cout, 1, 2, 1, (2.0 / cout as f64).sqrt(), None, false);
        let (Op::Fused(a), Op::Fused(b)) = (self.g.nodes[z].op.clone(), self.g.nodes[d].op.clone())
        else {
            panic!()
        };
        let f = Fused { convs: vec![a.convs[0].clone(), b.convs[0].clone()], ..a };
        let i = [self.g.nodes[z].inputs[0], x];
        self.g.nodes.truncate(z);
        self.g.push(Op::Fused(f), &i).unwrap()
    }
    fn norm_relu(&mut self, x: usize) -> usize {
        let c = self.g.nodes[x].dims[0];
        self.n += 1;
        let n = self.n;
        for t in ["w", "b", "m", "v"] {
            let v: Vec<f32> = (0..c)
                .map(|_| if t == "v" || t == "w" { 1.0 } else { (self.normal() * 0.1) as f32 })
                .collect();
            self.g.add_tensor(format!("bn{n}.{t}"), Tensor::new(&[c], v).unwrap());
        }
        let f = |t: &str| format!("bn{n}.{t}");
        let y = self
            .g
            .push(
                Op::Norm(Norm {
                    weight: f("w"),
                    bias: f("b"),
                    mean: f("m"),
                    var: f("v"),
                    eps: 1e-5,
                }),
                &[x],
            )
            .unwrap();
        self.g.push(Op::Activation(Activation::Relu), &[y]).unwrap()
    }
    fn end(&mut self, x: usize) {
        let c = self.g.nodes[x].dims[0];
        let m = self.g.push(Op::GlobalAverage, &[x]).unwrap();
        let l = self.conv(&[m], c, 100, 1, 1, 1, 0.05, None, false);
        self.g.output = self.g.push(Op::Reshape(vec![100]), &[l]).unwrap();
    }
}
fn net(name: &str, cut: f64) -> Graph {
    let mut b = B { g: Graph::new(&[3, 32, 32]), seed: 88172645463325252, n: 0, cut };
    match name {
        "resnet20" => {
            let mut x = b.conv(&[0], 3, 32, 3, 1, 1, (2.0f64 / (9.0 * 32.0)).sqrt(), None, true);
            let mut c = 32;
            for w in [32, 64, 128] {
                for _ in 0..3 {
                    x = b.block(x, c, w);
                    c = w;
                }
            }
            b.end(x);
        }
        "mobilenet" => {
            let std = |fan: usize| (1.0 / (3.0 * fan as f64)).sqrt();
            let mut x = b.conv(&[0], 3, 32, 3, 1, 1, std(27), None, true);
            let mut c = 32;
            for (w, s) in [
                (64, 1),
                (128, 2),
                (128, 1),
                (256, 2),
                (256, 1),
                (512, 2),
                (512, 1),
                (512, 1),
                (512, 1),
                (512, 1),
                (512, 1),
                (1024, 2),
                (1024, 1),
            ] {
                x = b.conv(&[x], c, c, 3, s, c, std(9), None, true);
                x = b.conv(&[x], c, w, 1, 1, 1, std(c), None, true);
                c = w;
            }
            b.end(x);
        }
        _ => {
            let mut c = 48;
            let mut x = b.conv(&[0], 3, c, 3, 1, 1, 0.07, None, false);
            for k in 0..3 {
                for _ in 0..6 {
                    let y = b.norm_relu(x);
                    let y = b.conv(&[y], c, 96, 1, 1, 1, (2.0f64 / 96.0).sqrt(), None, true);
                    let y =
                        b.conv(&[y], 96, 24, 3, 1, 1, (2.0f64 / 9.0 / 24.0).sqrt(), None, false);
                    x = b.g.push(Op::Concat, &[x, y]).unwrap();
                    c += 24;
                }
                if k < 2 {
                    let y = b.norm_relu(x);
                    let y = b.conv(&[y], c, c / 2, 1, 1, 1, (4.0 / c as f64).sqrt(), None, false);
                    x =
                        b.g.push(
                            Op::AveragePool {
                                window: Window::square(2, 2, 0),
                                counts_padding: false,
                            },
                            &[y],
                        )
                        .unwrap();
                    c /= 2;
                }
            }
            let y = b.norm_relu(x);
            b.end(y);
        }
    }
    b.g
}
fn density(g: &Graph) -> f64 {
    let (mut n, mut t) = (0, 0);
    for (k, v) in &g.tensors {
        if k.starts_with("conv") && !k.ends_with(".b") {
            n += v.values().iter().filter(|v| **v != 0.0).count();
            t += v.values().len();
        }
    }
    n as f64 / t as f64
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let want = 1.0 - a[2].parse::<f64>().unwrap() / 100.0;
    let (mut lo, mut hi) = (0.0, 2.0);
    for _ in 0..20 {
        let mid = (lo + hi) / 2.0;
        if density(&net(&a[1], mid)) > want { lo = mid } else { hi = mid }
    }
    let g = net(&a[1], if want >= 1.0 { -1.0 } else { lo });
    let t = Instant::now();
    let e = Engine::compile(&g, &Options::default()).unwrap();
    println!("density {:.4} compile {:.1} ms", density(&g), t.elapsed().as_secs_f64() * 1e3);
    let x: Vec<f32> = (0..64 * 3072).map(|i| ((i * 7919) % 255) as f32 / 127.0 - 1.0).collect();
    let mut ws = e.workspace();
    let mut out = vec![0.0; 100];
    let mut ts: Vec<f64> = (0..500)
        .map(|_| {
            let t = Instant::now();
            e.run_with(&mut ws, &x[..3072], &mut out).unwrap();
            t.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    ts.sort_by(f64::total_cmp);
    println!("batch 1: min {:.1} median {:.1} us", ts[0], ts[250]);
    let want = interpret(&g, &x[..3072]).unwrap();
    let m = want.iter().fold(0f32, |a, b| a.max(b.abs()));
    println!("error {:e}", want.iter().zip(&out).fold(0f32, |a, (b, c)| a.max((b - c).abs())) / m);
    let p = e.profile(&x[..3072], 200).unwrap();
    let mut px = 0.0;
    for l in &p.layers {
        let n = 2.0 * (l.nonzeros * l.dims[1] * l.dims[2]) as f64;
        let n = if l.name.starts_with("bn") || l.nonzeros == 0 { 0.0 } else { n };
        px += n;
        println!(
            "  {:24} {:28} {:?} nnz {:6} {:7.2} us {:6.1} GF/s",
            l.name,
            l.kernel,
            l.dims,
            l.nonzeros,
            l.micros.unwrap(),
            n / l.micros.unwrap() * 1e-3
        );
    }
    let sum: f64 = p.layers.iter().map(|l| l.micros.unwrap()).sum();
    println!(
        "sum {sum:.1} us, {:.1} MFLOP, {:.1} GF/s; weights {} workspace {}",
        px * 1e-6,
        px / sum * 1e-3,
        p.weight_bytes,
        p.workspace_bytes
    );
    let e = Engine::compile(&g, &Options { batch: 64, threads: 2, ..Options::default() }).unwrap();
    let mut ws = e.workspace();
    let mut out = vec![0.0; 6400];
    let mut best = f64::MAX;
    for _ in 0..20 {
        let t = Instant::now();
        e.run_with(&mut ws, &x, &mut out).unwrap();
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!("batch 64, 2 threads: {:.0} images/s", 64.0 / best);
}

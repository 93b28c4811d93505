//! Trains a transformer with two layers to reverse sequences, pruned to 90 % sparsity.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use taper::{
    core::rng::Rng,
    nn::{Init, Linear, ParamKind, Params, Scope, relu},
    prelude::*,
};

const SYMBOLS: usize = 6;
const TOKENS: usize = 8;
const WIDTH: usize = 32;
const HEADS: usize = 4;

/// Layer normalization of each token.
struct LayerNorm {
    weight: Var,
    bias: Var,
}

impl LayerNorm {
    fn new(scope: &Scope) -> Result<Self> {
        let weight = scope.param("weight", WIDTH, ParamKind::NormWeight, Init::Constant(1.0))?;
        let bias = scope.param("bias", WIDTH, ParamKind::NormBias, Init::Constant(0.0))?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // Candle's fused layer normalization has no gradient.
        candle_nn::ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

/// Pre-norm block: self-attention and a two-layer MLP, each with layer normalization and a residual connection.
struct Block {
    norms: [LayerNorm; 2],
    /// Query, key and value.
    inputs: [Linear; 3],
    output: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(scope: &Scope) -> Result<Self> {
        let input = |name: &str| {
            Linear::without_bias(&scope.pp("attention").pp(name), WIDTH, WIDTH, Init::Uniform)
        };
        let linear = |name: &str, from, to| Linear::new(&scope.pp(name), from, to, Init::Uniform);
        Ok(Self {
            norms: [LayerNorm::new(&scope.pp("norm1"))?, LayerNorm::new(&scope.pp("norm2"))?],
            inputs: [input("query")?, input("key")?, input("value")?],
            output: linear("attention.output", WIDTH, WIDTH)?,
            up: linear("up", WIDTH, 4 * WIDTH)?,
            down: linear("down", 4 * WIDTH, WIDTH)?,
        })
    }

    /// `x` is `[batch, tokens, width]`.
    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let normed = self.norms[0].forward(x)?;
        // [batch, heads, tokens, head width]
        let in_heads = |layer: &Linear| {
            let y = layer.forward(&normed, pass)?.tensor()?;
            y.reshape((y.dim(0)?, TOKENS, HEADS, WIDTH / HEADS))?.transpose(1, 2)?.contiguous()
        };
        let [query, key, value] = &self.inputs;
        let scores = (in_heads(query)?.matmul(&in_heads(key)?.t()?)?
            * (1.0 / ((WIDTH / HEADS) as f64).sqrt()))?;
        let shares = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let mixed = shares.matmul(&in_heads(value)?)?.transpose(1, 2)?.flatten_from(2)?;
        let x = (x + self.output.forward(&mixed, pass)?.tensor()?)?;
        let hidden = relu(self.up.forward(self.norms[1].forward(&x)?, pass)?)?;
        x + self.down.forward(&hidden, pass)?.tensor()?
    }
}

struct Transformer {
    embedding: Linear,
    positions: Var,
    blocks: [Block; 2],
    norm: LayerNorm,
    head: Linear,
    params: Params,
}

impl Transformer {
    fn new(scope: &Scope) -> Result<Self> {
        let (shape, init) = ((TOKENS, WIDTH), Init::Normal(0.5));
        Ok(Self {
            embedding: Linear::new(&scope.pp("embedding"), SYMBOLS, WIDTH, Init::Normal(0.5))?,
            positions: scope.param("positions", shape, ParamKind::Bias, init)?,
            blocks: [Block::new(&scope.pp("block1"))?, Block::new(&scope.pp("block2"))?],
            norm: LayerNorm::new(&scope.pp("norm"))?,
            head: Linear::new(&scope.pp("head"), WIDTH, SYMBOLS, Init::Uniform)?,
            params: scope.finish(),
        })
    }

    /// Maps symbols `[batch, tokens]` to logits `[batch · tokens, symbols]`.
    fn forward(&self, symbols: &Tensor, pass: &Pass) -> Result<Tensor> {
        let device = symbols.device();
        let ones = Tensor::eye(SYMBOLS, DType::F32, device)?;
        let one_hot = ones.index_select(&symbols.flatten_all()?, 0)?;
        let one_hot = one_hot.reshape((symbols.dim(0)?, TOKENS, SYMBOLS))?;
        let x = self.embedding.forward(one_hot, pass)?.tensor()?.broadcast_add(&self.positions)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x, pass))?;
        self.head.forward(self.norm.forward(&x)?, pass)?.tensor()?.flatten_to(1)
    }
}

/// Random sequences `[batch, tokens]`, and the reversed symbols `[batch · tokens]`.
fn sequences(batch: usize, key: u64) -> Result<(Tensor, Tensor)> {
    let mut rng = Rng::for_key([key]);
    let symbols: Vec<u32> = (0..batch * TOKENS).map(|_| rng.below(SYMBOLS as u64) as u32).collect();
    let reversed: Vec<u32> = symbols.chunks(TOKENS).flat_map(|s| s.iter().rev()).copied().collect();
    let symbols = Tensor::from_vec(symbols, (batch, TOKENS), &Device::Cpu)?;
    Ok((symbols, Tensor::new(reversed, &Device::Cpu)?))
}

/// The accuracy per symbol of the pruned network, and its sparsity.
fn train(n_steps: u64) -> std::result::Result<(f64, Sparsity), Box<dyn std::error::Error>> {
    let model = Transformer::new(&Scope::new(0, &Device::Cpu))?;
    let vars = model.params.trained().map(|(entry, _)| entry.var.clone()).collect();
    let config = ParamsAdamW { lr: 3e-3, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(vars, config)?;
    let target = Sparsity::new(0.9)?;
    let mut pruner = Pruner::feather(model.params.prunable(), target, n_steps)?;
    for step in 0..n_steps {
        let (symbols, reversed) = sequences(32, step)?;
        let gates = pruner.begin_step(Step(step))?;
        let logits = model.forward(&symbols, &Pass::train(&gates))?;
        let loss = candle_nn::loss::cross_entropy(&logits, &reversed)?;
        optimizer.backward_step(&loss)?;
        if step % 100 == 99 {
            let (loss, sparsity) = (loss.to_scalar::<f32>()?, pruner.report().sparsity());
            println!("step {step}: loss {loss:.4}, sparsity {sparsity}");
        }
    }
    let n_weights = model.params.layers().iter().map(|layer| layer.n_weights()).sum();
    let sparsity = Sparsity::of(n_weights - pruner.bake()?, n_weights);
    let (symbols, reversed) = sequences(256, n_steps)?;
    let found = model.forward(&symbols, &Pass::eval())?.argmax(1)?;
    let right = found.eq(&reversed)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
    Ok((f64::from(right), sparsity))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (right, sparsity) = train(400)?;
    println!("accuracy {:.1} % at a sparsity of {sparsity}", 100.0 * right);
    Ok(())
}

#[test]
fn the_task_is_learned_at_90_percent_sparsity() {
    let (right, sparsity) = train(400).expect("training");
    assert!((sparsity.get() - 0.9).abs() < 1e-3, "{sparsity}");
    assert!(right > 0.95, "{right}"); // a random guess reaches 1/6
}

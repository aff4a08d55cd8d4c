//! The functions of the vocabulary that go element by element.

use super::native::Pointwise;
use super::native::{comparisons as compare, of_one as one, of_two as two};
use stillhouse_plugin::op::Op;

/// The function of an operation, when it goes element by element.
pub(super) fn pointwise(op: &Op) -> Option<Box<dyn Pointwise>> {
    Some(match *op {
        Op::Neg => one::neg(),
        Op::Exp => one::exp(),
        Op::Log => one::log(),
        Op::Sqrt => one::sqrt(),
        Op::Square => one::square(),
        Op::Abs => one::abs(),
        Op::Recip => one::recip(),
        Op::Relu => one::relu(),
        Op::Relu6 => one::relu6(),
        Op::LeakyRelu { slope } => one::leaky_relu(slope),
        Op::Sigmoid => one::sigmoid(),
        Op::Tanh => one::tanh(),
        Op::Silu => one::silu(),
        Op::Gelu => one::gelu(),
        Op::Softplus => one::softplus(),
        Op::Erf => one::erf(),
        Op::Sign => one::sign(),
        Op::Floor => one::floor(),
        Op::Affine { mul, add } => one::affine(mul, add),
        Op::Pow { exponent } => one::pow(exponent),
        Op::Clamp { low, high } => one::clamp(low, high),
        Op::Add => two::add(),
        Op::Sub => two::sub(),
        Op::Mul => two::mul(),
        Op::Div => two::div(),
        Op::Maximum => two::maximum(),
        Op::Minimum => two::minimum(),
        Op::SmoothL1 { beta } => two::smooth_l1(beta),
        Op::Eq => compare::eq(),
        Op::Ne => compare::ne(),
        Op::Gt => compare::gt(),
        Op::Ge => compare::ge(),
        Op::Lt => compare::lt(),
        Op::Le => compare::le(),
        _ => return None,
    })
}

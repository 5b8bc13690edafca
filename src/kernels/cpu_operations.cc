#include "kernels/cpu_operations.h"

#include "kernels/routing/routing.h"

namespace krait {

constinit const Operations cpu_operations = {
    .pack = cpu::pack,
    .linear = cpu::linear,
    .embedding = cpu::embedding,
    .causal_conv1d = cpu::causal_conv1d,
    .selective_scan = cpu::selective_scan,
    .ssd = cpu::ssd,
    .ssd_state_values = cpu::ssd_state_values,
    .attention = cpu::attention,
    .rotary_angles = cpu::rotary_angles,
    .rotary = cpu::rotary,
    .add_rms_norm = cpu::add_rms_norm,
    .add_layer_norm = cpu::add_layer_norm,
    .gated_rms_norm = cpu::gated_rms_norm,
    .add_rows = cpu::add_rows,
    .scale_rows = cpu::scale_rows,
    .copy_rows = cpu::copy_rows,
    .gather_rows = cpu::gather_rows,
    .scatter_add = cpu::scatter_add,
    .clear_rows = cpu::clear_rows,
    .quantize = cpu::quantize,
    .dequantize = cpu::dequantize,
    .hadamard = cpu::hadamard,
    .hadamard_inverse = cpu::hadamard_inverse,
    .gelu = cpu::gelu,
    .silu_product = cpu::silu_product,
    .top_experts = cpu::top_experts,
};

}  // namespace krait

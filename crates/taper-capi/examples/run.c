/* Runs a network on generated images, and prints one line per image: run NETWORK.onnx [BATCH] [THREADS] [OUTPUT]. */
#include <stdio.h>
#include <stdlib.h>
#include <taper_infer.h>

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s NETWORK.onnx [BATCH] [THREADS] [OUTPUT]\n", argv[0]);
        return 2;
    }
    size_t batch = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    size_t threads = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
    taper_network *network = argc > 4 ? taper_open_with(argv[1], batch, threads, NULL, argv[4])
                                      : taper_open(argv[1], batch, threads);
    if (!network) {
        fprintf(stderr, "error: %s\n", taper_last_error());
        return 1;
    }
    size_t n_in = taper_input_len(network), n_out = taper_output_len(network);
    float *images = malloc(batch * n_in * sizeof *images);
    float *results = malloc(batch * n_out * sizeof *results);
    int status = images && results ? 0 : 1;
    for (size_t i = 0; !status && i < batch * n_in; i++)
        images[i] = (float)(i % 17) / 16;
    if (!status && taper_run(network, images, batch, results)) {
        fprintf(stderr, "error: %s\n", taper_last_error());
        status = 1;
    }
    for (size_t i = 0; !status && i < batch * n_out; i++)
        printf("%.9g%c", results[i], (i + 1) % n_out ? ' ' : '\n');
    free(images);
    free(results);
    taper_close(network);
    return status;
}

/* Compiled inference of sparse convolutional networks.
 *
 * A network is opened from an ONNX file for a maximum batch and a number of threads, and then run any number of times.
 * Values are 32-bit floats. Images are consecutive, each as [channels, rows, columns].
 *
 * The result of a function shows whether it failed. taper_last_error() returns the reason. */
#ifndef TAPER_INFER_H
#define TAPER_INFER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A compiled network. Several threads may use it; their runs are serialized. */
typedef struct taper_network taper_network;

/* Reads the ONNX file at `path` (UTF-8), and compiles it for up to `batch` images per run (1 to 65536) on `threads`
 * threads (1 to 1024). Returns NULL if that fails, or if the system cannot start the threads. Free the network with
 * taper_close().
 *
 * The call allocates all memory of the network. With several threads this includes the images and results of all
 * threads except one: half a batch for two threads, more for more threads. Without enough memory the call returns NULL,
 * or the process ends. After fork(), a child process must open its own networks. */
taper_network *taper_open(const char *path, size_t batch, size_t threads);

/* Like taper_open(), for a file that does not fix the image size or has several outputs. `size` is NULL, or the
 * channels, rows and columns of an image (three numbers). `output` is NULL, or the name of the output to compute
 * (UTF-8). Both are read only during the call. */
taper_network *taper_open_with(const char *path, size_t batch, size_t threads, const size_t *size, const char *output);

/* Number of floats of an image, and of the results for one image; 0 if `network` is NULL. */
size_t taper_input_len(const taper_network *network);
size_t taper_output_len(const taper_network *network);

/* Number of dimensions of an image, and of the results for one image. The first `capacity` sizes are written to `dims`.
 * 0 if `network` is NULL, or if `dims` is NULL or misaligned and `capacity` is not 0. */
size_t taper_input_dims(const taper_network *network, size_t *dims, size_t capacity);
size_t taper_output_dims(const taper_network *network, size_t *dims, size_t capacity);

/* Computes the results for `n_images` images, 1 to the batch of taper_open(). `images` must have
 * n_images * taper_input_len() floats, and `results` room for n_images * taper_output_len(). They must not overlap.
 * Returns 0 on success, -1 on failure. */
int taper_run(const taper_network *network, const float *images, size_t n_images, float *results);

/* Frees a network. Nothing may use it during or after the call. NULL is allowed. */
void taper_close(taper_network *network);

/* The error message of the last failed call of this thread; empty if no call has failed. It is valid until the next
 * failed call of this thread. */
const char *taper_last_error(void);

#ifdef __cplusplus
}
#endif

#endif

/* A fake librknnmrt.so for x86-64: the documented structs, the zero-copy calls, strides, both output layouts, error codes.
 * A model file is a .rknn container (64 bytes, body, JSON) whose body consists of text lines:
 *
 *   version API DRIVER                     the result of RKNN_QUERY_SDK_VERSION
 *   fail CALL CODE                         this call returns CODE (init, run, query11, create_mem)
 *   image NAME H W C MEAN STD ROW          an input of pixels, rows of ROW pixels
 *   feature NAME C H W ZP SCALE            an input NC1HWC2 int8, C2 = 16
 *   output NAME C H W ZP SCALE ROW GAIN    computed as below, stored as NHWC (rows of ROW pixels) or NC1HWC2
 *   feature16 NAME C H W FL                an input NC1HWC2 int16, C2 = 8: real = q * 2^-FL; SCALE is not set
 *   output16 NAME C H W FL ROW GAIN        int16 in the same way
 *
 * output[c, y, x] = GAIN * sum over inputs i of real(i[c % Ci, y * Hi / H, x * Wi / W]), then quantized to int8 or int16.
 * It does not prove that the NPU, its driver and the vendor's library behave like this. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __arm__
typedef uint32_t rknn_context;
#else
typedef uint64_t rknn_context;
#endif
typedef struct { uint32_t n_input, n_output; } io_num;
typedef struct {
    uint32_t index, n_dims, dims[16]; char name[256]; uint32_t n_elems, size; int32_t fmt, type, qnt_type; int8_t fl;
    int32_t zp; float scale; uint32_t w_stride, size_with_stride; uint8_t pass_through; uint32_t h_stride;
} tensor_attr;
typedef struct { void *virt_addr; uint64_t phys_addr; int32_t fd, offset; uint32_t size, flags; void *priv; } tensor_mem;
typedef struct { char api[256], drv[256]; } sdk_version;
typedef struct { uint32_t weight, internal; uint64_t dma; uint32_t sram, sram_free, reserved[10]; } mem_size;
_Static_assert(sizeof(tensor_attr) == 376 && sizeof(tensor_mem) == 40 && sizeof(mem_size) == 64, "documented sizes");

enum { NHWC = 1, NC1HWC2 = 2, INT8 = 2, UINT8 = 3, INT16 = 4, DFP = 1, AFFINE = 2, MOST = 8 };
enum { FAIL = -1, PARAM_INVALID = -5, MODEL_INVALID = -6, CTX_INVALID = -7, INPUT_INVALID = -8, OUTPUT_INVALID = -9 };

typedef struct {
    char name[256]; int image, c, h, w, zp, row, wide, fl; float scale, mean, gain; /* wide: int16 */
    tensor_mem *mem; tensor_attr bound;
} tensor;
typedef struct {
    uint64_t magic; int n_in, n_out; tensor in[MOST], out[MOST]; sdk_version version;
    int fail_run, fail_query11, fail_create_mem; uint32_t bytes;
} context;

static const uint64_t MAGIC = 0xfa4e0badull;
static int live_contexts, live_mems;
static long syncs, binds;

int fake_live_contexts(void) { return live_contexts; }
int fake_live_mems(void) { return live_mems; }
long fake_syncs(void) { return syncs; }
long fake_binds(void) { return binds; }

static context *of(rknn_context ctx) {
    context *c = (context *)(uintptr_t)ctx;
    return c && c->magic == MAGIC ? c : NULL;
}

static int depth(const tensor *t) { return t->wide ? 8 : 16; } /* C2 */
static int blocks(const tensor *t) { return (t->c + depth(t) - 1) / depth(t); }

static int parse(context *c, char *text) {
    int code = 0;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char call[64]; int value; tensor t = {0};
        if (sscanf(line, "version %255s %255s", c->version.api, c->version.drv) == 2) continue;
        if (sscanf(line, "fail %63s %d", call, &value) == 2) {
            if (!strcmp(call, "init")) code = value;
            if (!strcmp(call, "run")) c->fail_run = value;
            if (!strcmp(call, "query11")) c->fail_query11 = value;
            if (!strcmp(call, "create_mem")) c->fail_create_mem = 1;
        } else if (sscanf(line, "image %255s %d %d %d %f %f %d", t.name, &t.h, &t.w, &t.c, &t.mean, &t.scale, &t.row) == 7) {
            t.image = 1; t.scale = 1 / t.scale;
            if (c->n_in == MOST) return MODEL_INVALID;
            c->in[c->n_in++] = t;
        } else if (sscanf(line, "feature %255s %d %d %d %d %f", t.name, &t.c, &t.h, &t.w, &t.zp, &t.scale) == 6) {
            if (c->n_in == MOST) return MODEL_INVALID;
            c->in[c->n_in++] = t;
        } else if (sscanf(line, "feature16 %255s %d %d %d %d", t.name, &t.c, &t.h, &t.w, &t.fl) == 5) {
            t.wide = 1; t.scale = ldexpf(1, -t.fl);
            if (c->n_in == MOST) return MODEL_INVALID;
            c->in[c->n_in++] = t;
        } else if (sscanf(line, "output16 %255s %d %d %d %d %d %f", t.name, &t.c, &t.h, &t.w, &t.fl, &t.row, &t.gain) == 7) {
            t.wide = 1; t.scale = ldexpf(1, -t.fl);
            if (c->n_out == MOST) return MODEL_INVALID;
            c->out[c->n_out++] = t;
        } else if (sscanf(line, "output %255s %d %d %d %d %f %d %f", t.name, &t.c, &t.h, &t.w, &t.zp, &t.scale, &t.row, &t.gain) == 8) {
            if (c->n_out == MOST) return MODEL_INVALID;
            c->out[c->n_out++] = t;
        } else return FAIL;
    }
    return code;
}

int rknn_init(rknn_context *ctx, void *model, uint32_t size, uint32_t flag, void *extend) {
    (void)flag; (void)extend;
    uint64_t body;
    if (!ctx || !model || size < 72 || memcmp(model, "RKNN", 4)) return FAIL; /* like the real one */
    memcpy(&body, (char *)model + 16, 8);
    if (64 + body + 8 > size) return FAIL;
    context *c = calloc(1, sizeof *c);
    char *text = calloc(1, body + 1);
    memcpy(text, (char *)model + 64, body);
    c->magic = MAGIC; c->bytes = (uint32_t)body;
    int code = parse(c, text);
    free(text);
    if (code) { free(c); return code; }
    live_contexts++;
    *ctx = (rknn_context)(uintptr_t)c;
    return 0;
}

int rknn_destroy(rknn_context ctx) {
    context *c = of(ctx);
    if (!c) return CTX_INVALID;
    c->magic = 0; live_contexts--;
    free(c);
    return 0;
}

static void dims(tensor_attr *a, int wide, int n, const int *d) {
    a->n_dims = (uint32_t)n; a->n_elems = 1;
    for (int i = 0; i < n; i++) { a->dims[i] = (uint32_t)d[i]; a->n_elems *= (uint32_t)d[i]; }
    a->size = a->size_with_stride = a->n_elems << wide;
}

static int attribute(context *c, int what, tensor_attr *a) {
    int output = what == 2 || what == 9 || what == 11;
    uint32_t index = a->index;
    if (index >= (uint32_t)(output ? c->n_out : c->n_in)) return PARAM_INVALID;
    if (what == 11 && c->fail_query11) return c->fail_query11;
    tensor *t = output ? &c->out[index] : &c->in[index];
    memset(a, 0, sizeof *a);
    a->index = index; a->type = t->wide ? INT16 : INT8; a->qnt_type = t->wide ? DFP : AFFINE; a->fl = (int8_t)t->fl;
    a->zp = t->zp; a->scale = t->wide ? 0 : t->scale;
    strcpy(a->name, t->name);
    if (what == 1 || what == 2) {
        dims(a, t->wide, 4, (int[]){1, t->c, t->h, t->w});
    } else if (t->image || what == 11) {
        a->fmt = NHWC; a->w_stride = (uint32_t)t->row;
        dims(a, t->wide, 4, (int[]){1, t->h, t->w, t->c});
        a->size_with_stride = (uint32_t)(t->h * t->row * t->c) << t->wide;
    } else {
        a->fmt = NC1HWC2;
        dims(a, t->wide, 5, (int[]){1, blocks(t), t->h, t->w, depth(t)});
    }
    return 0;
}

int rknn_query(rknn_context ctx, int32_t what, void *info, uint32_t size) {
    context *c = of(ctx);
    if (!c) return CTX_INVALID;
    switch (what) {
    case 0:
        if (size != sizeof(io_num)) return PARAM_INVALID;
        *(io_num *)info = (io_num){(uint32_t)c->n_in, (uint32_t)c->n_out};
        return 0;
    case 5:
        if (size != sizeof(sdk_version)) return PARAM_INVALID;
        *(sdk_version *)info = c->version;
        return 0;
    case 6:
        if (size != sizeof(mem_size)) return PARAM_INVALID;
        *(mem_size *)info = (mem_size){.weight = c->bytes, .internal = 2 * c->bytes};
        return 0;
    case 1: case 2: case 8: case 9: case 11:
        return size == sizeof(tensor_attr) ? attribute(c, what, info) : PARAM_INVALID;
    default:
        return PARAM_INVALID;
    }
}

tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size) {
    context *c = of(ctx);
    if (!c || c->fail_create_mem) return NULL;
    tensor_mem *mem = calloc(1, sizeof *mem);
    mem->virt_addr = malloc(size);
    memset(mem->virt_addr, 0x5a, size); /* so that tests detect reads of padding */
    mem->size = size;
    live_mems++;
    return mem;
}

int rknn_destroy_mem(rknn_context ctx, tensor_mem *mem) {
    if (!of(ctx) || !mem) return PARAM_INVALID;
    free(mem->virt_addr);
    free(mem);
    live_mems--;
    return 0;
}

int rknn_mem_sync(rknn_context ctx, tensor_mem *mem, int32_t mode) {
    syncs++;
    return !of(ctx) ? CTX_INVALID : mem && (mode == 1 || mode == 2) ? 0 : PARAM_INVALID;
}

int rknn_set_io_mem(rknn_context ctx, tensor_mem *mem, tensor_attr *a) {
    context *c = of(ctx);
    if (!c) return CTX_INVALID;
    if (!mem || !a || mem->size < a->size_with_stride) return PARAM_INVALID;
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < (side ? c->n_out : c->n_in); i++) {
            tensor *t = side ? &c->out[i] : &c->in[i];
            if (strcmp(t->name, a->name)) continue;
            if (!side && t->image && (a->type != UINT8 || a->fmt != NHWC || a->pass_through)) return INPUT_INVALID;
            if (!side && !t->image && (a->type != (t->wide ? INT16 : INT8) || !a->pass_through)) return INPUT_INVALID;
            t->mem = mem; t->bound = *a;
            binds++;
            return 0;
        }
    return PARAM_INVALID;
}

static float input_at(const tensor *t, int c, int y, int x) {
    if (t->image) {
        const uint8_t *p = t->mem->virt_addr;
        return ((float)p[(y * t->row + x) * t->c + c] - t->mean) * t->scale;
    }
    const void *p = t->mem->virt_addr;
    int d = depth(t), i = ((c / d * t->h + y) * t->w + x) * d + c % d;
    return (float)((t->wide ? ((const int16_t *)p)[i] : ((const int8_t *)p)[i]) - t->zp) * t->scale;
}

int rknn_run(rknn_context ctx, void *extend) {
    (void)extend;
    context *c = of(ctx);
    if (!c) return CTX_INVALID;
    if (c->fail_run) return c->fail_run;
    for (int i = 0; i < c->n_in; i++) if (!c->in[i].mem) return INPUT_INVALID;
    for (int o = 0; o < c->n_out; o++) {
        tensor *t = &c->out[o];
        if (!t->mem) return OUTPUT_INVALID;
        void *p = t->mem->virt_addr;
        float most = t->wide ? 32767 : 127;
        int d = depth(t);
        for (int ch = 0; ch < t->c; ch++)
            for (int y = 0; y < t->h; y++)
                for (int x = 0; x < t->w; x++) {
                    float sum = 0;
                    for (int i = 0; i < c->n_in; i++)
                        sum += input_at(&c->in[i], ch % c->in[i].c, y * c->in[i].h / t->h, x * c->in[i].w / t->w);
                    float q = rintf(t->gain * sum / t->scale) + (float)t->zp;
                    int nhwc = t->bound.fmt == NHWC;
                    int i = nhwc ? (y * t->row + x) * t->c + ch : ((ch / d * t->h + y) * t->w + x) * d + ch % d;
                    q = fmaxf(-most - 1, fminf(most, q));
                    if (t->wide) ((int16_t *)p)[i] = (int16_t)q;
                    else ((int8_t *)p)[i] = (int8_t)q;
                }
    }
    return 0;
}

/* The smallest file that is taken for a plugin's: a preamble of interface 1.0, and room for the header behind it. */

struct preamble {
    char magic[8];
    unsigned major, minor;
    unsigned char pointer_bits, unwinds, reserved[6];
    char name[64], version[32], built_with[96];
};

const struct preamble STILLHOUSE_PREAMBLE = {"STILLHSE", 1, 0, 8 * sizeof(void *), 1, {0}, "seed", "0.1.0", "cc"};
const char STILLHOUSE_HEADER[256] = {1};

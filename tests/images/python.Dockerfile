# fumehood/test-python where an image registry answers and Debian's own tools are not at hand.
# scripts/images.sh makes the same from packages: keep the two alike.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -qy --no-install-recommends python3 bash git curl python3-pip-whl procps coreutils findutils tar \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s python3 /usr/bin/python \
 && useradd --create-home --uid 1000 --shell /bin/bash user \
 && useradd --no-create-home --uid 65532 --shell /bin/bash nonroot
ENV LANG=C.UTF-8
CMD ["python3"]

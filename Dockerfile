# ncbench on a CPU, with the pinned versions: docker build -t ncbench . ; the command of the container is `ncbench`.
# A GPU: leave out PIP_EXTRA_INDEX_URL, and `docker run --gpus all`.
FROM python:3.11-slim
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY ncbench ncbench
COPY conf conf
COPY hydra_plugins hydra_plugins
ARG VERSION=0.1.0
RUN SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION pip install -c constraints.txt .
WORKDIR /work
ENTRYPOINT ["ncbench"]
CMD ["train", "--list"]
